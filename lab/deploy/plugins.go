// Plugins admits objects as the API server does, by its own admission plugins, and type-checks the expressions of
// ValidatingAdmissionPolicies against the schemas that client-go has.
//
// stdin: {"policies": [objects], "namespaces": {name: labels}, "requests": [{"object": …, "namespace": …, "user": …}]}
// stdout: {"problems": {policy: [text]}, "answers": [{"object": …, "warnings": [text], "denied": text}]}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
)

type question struct {
	Policies   []json.RawMessage            `json:"policies"`
	Namespaces map[string]map[string]string `json:"namespaces"`
	Requests   []request                    `json:"requests"`
}

type request struct {
	Object    json.RawMessage `json:"object"`
	Namespace string          `json:"namespace"`
	User      string          `json:"user"`
}

type answer struct {
	Object   runtime.Object `json:"object"`
	Warnings []string       `json:"warnings"`
	Denied   string         `json:"denied"`
}

// client is the fake client with the schemas that client-go ships.
type client struct{ kubernetes.Interface }

// IsWatchListSemanticsUnSupported makes informers list and watch, as the fake client wants it.
func (client) IsWatchListSemanticsUnSupported() bool { return true }

type discoverer struct{ discovery.DiscoveryInterface }

func (c client) Discovery() discovery.DiscoveryInterface { return discoverer{c.Interface.Discovery()} }
func (d discoverer) OpenAPIV3() openapi.Client           { return openapitest.NewEmbeddedFileClient() }

type recorder struct {
	lock  sync.Mutex
	texts []string
}

func (r *recorder) AddWarning(_, text string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.texts = append(r.texts, text)
}

type anything struct{}

func (anything) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	decoder := scheme.Codecs.UniversalDeserializer()
	var objects []runtime.Object
	for _, raw := range asked.Policies {
		object, _, err := decoder.Decode(raw, nil, nil)
		objects = append(objects, must(object, err))
	}
	for name, labels := range asked.Namespaces {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, gv := range []schema.GroupVersion{corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion} {
		for kind := range scheme.Scheme.KnownTypes(gv) {
			mapper.Add(gv.WithKind(kind), meta.RESTScopeNamespace)
		}
	}
	made := client{fake.NewClientset(objects...)}
	answers, err := ask(made, mapper, asked.Requests)
	must(answers, err)
	out := map[string]any{"problems": problems(made, mapper, objects), "answers": answers}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}

func problems(made client, mapper meta.RESTMapper, objects []runtime.Object) map[string][]string {
	found := map[string][]string{}
	checker := validating.TypeChecker{SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: made.Discovery()}, RestMapper: mapper}
	for _, object := range objects {
		if policy, ok := object.(*admissionv1.ValidatingAdmissionPolicy); ok {
			found[policy.Name] = []string{}
			for _, warned := range checker.Check(policy) {
				found[policy.Name] = append(found[policy.Name], warned.FieldRef+": "+warned.Warning)
			}
		}
	}
	return found
}

func ask(made client, mapper meta.RESTMapper, requests []request) ([]answer, error) {
	stop := make(chan struct{})
	defer close(stop)
	factory := informers.NewSharedInformerFactory(made, 0)
	mutator, validator := must(mutating.NewPlugin(nil)), must(validating.NewPlugin(nil))
	mutator.SetEnabled(true)
	for _, plugin := range []interface {
		SetExternalKubeInformerFactory(informers.SharedInformerFactory)
		SetExternalKubeClientSet(kubernetes.Interface)
		SetRESTMapper(meta.RESTMapper)
		SetDrainedNotification(<-chan struct{})
		SetAuthorizer(authorizer.Authorizer)
		ValidateInitialization() error
	}{mutator, validator} {
		plugin.SetExternalKubeInformerFactory(factory)
		plugin.SetExternalKubeClientSet(made)
		plugin.SetRESTMapper(mapper)
		plugin.SetDrainedNotification(stop)
		plugin.SetAuthorizer(anything{})
	}
	dynamic := dynamicfake.NewSimpleDynamicClient(scheme.Scheme)
	mutator.SetDynamicClient(dynamic)
	validator.SetDynamicClient(dynamic)
	if err := mutator.ValidateInitialization(); err != nil {
		return nil, err
	}
	if err := validator.ValidateInitialization(); err != nil {
		return nil, err
	}
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	if !mutator.WaitForReady() || !validator.WaitForReady() {
		return nil, fmt.Errorf("the plugins are not ready")
	}
	interfaces := admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	var answers []answer
	for _, request := range requests {
		object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(request.Object, nil, nil)
		if err != nil {
			return nil, err
		}
		mapping := must(mapper.RESTMapping(kind.GroupKind(), kind.Version))
		given := recorder{}
		ctx := warning.WithWarningRecorder(context.Background(), &given)
		name := must(meta.Accessor(object)).GetName()
		who := &user.DefaultInfo{Name: request.User}
		attributes := admission.NewAttributesRecord(
			object, nil, *kind, request.Namespace, name, mapping.Resource, "", admission.Create, &metav1.CreateOptions{}, false, who)
		denied := mutator.Admit(ctx, attributes, interfaces)
		if denied == nil {
			denied = validator.Validate(ctx, attributes, interfaces)
		}
		said := answer{Object: object, Warnings: given.texts}
		if denied != nil {
			said.Denied = denied.Error()
		}
		answers = append(answers, said)
	}
	return answers, nil
}
