"""Steps of engines and builders inside a Pod with a user namespace, tried in namespaces of the probe's own."""
