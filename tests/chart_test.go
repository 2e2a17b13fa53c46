package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sallyport/devpki"
)

// chart is the Helm chart.
const chart = "../deploy/helm/sallyport"

// helm runs helm as if for a cluster of a version, and returns what it prints.
func helm(t *testing.T, version string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(need(t, "helm"), append(args, "--kube-version", version)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// recent is a version of Kubernetes that has everything.
const recent = "1.33"

// An object is what the tests read of one that the chart makes.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct{ Spec pod }
	}
}

type pod struct {
	TerminationGracePeriodSeconds int
	InitContainers, Containers    []podContainer
	Volumes                       []struct {
		Name   string
		Secret struct{ SecretName string }
		CSI    struct{ Driver string }
	}
}

type podContainer struct {
	Name, Image, RestartPolicy string
	Command, Args              []string
	Env                        []struct{ Name, Value string }
	VolumeMounts               []struct{ Name, MountPath string }
	Ports                      []struct {
		Name          string
		ContainerPort int
	}
	StartupProbe, LivenessProbe, ReadinessProbe struct {
		HTTPGet struct{ Path, Port, Scheme string }
	}
	Lifecycle struct {
		PreStop struct{ Exec struct{ Command []string } }
	}
}

// objects reads what helm has made.
func objects(t *testing.T, text string) map[string]object {
	t.Helper()
	found := map[string]object{}
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		// By way of JSON, which finds the fields of a struct by itself.
		data, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		found[o.Kind] = o
	}
}

// A preset is values for the chart, with what is special about their pod.
type preset struct {
	name    string
	args    []string // of helm
	objects string   // the kinds that it makes, in order of their names
	before  func(t *testing.T, r *release)
	try     func(t *testing.T, r *release) // whether the tunnel does its work
}

// inChart are the flags for a preset that the chart brings.
func inChart(name string) []string {
	return []string{"-f", filepath.Join(chart, "presets", name+".yaml")}
}

var presets = []preset{
	{
		name: "sidecar-demo", args: inChart("sidecar-demo"),
		objects: "Deployment NetworkPolicy PodDisruptionBudget Service ServiceAccount",
		try: func(t *testing.T, r *release) {
			t.Helper()
			r.curl(t, "Hello from behind the tunnel.", append(r.identity("client"), "https://localhost:8443/")...)
		},
	},
	{
		name: "exporter-front", args: inChart("exporter-front"),
		objects: "Deployment PrometheusRule Service ServiceAccount ServiceMonitor",
		try: func(t *testing.T, r *release) {
			t.Helper()
			r.curl(t, "node_cpu_seconds_total{", append(r.identity("prometheus"), "https://localhost:9443/metrics")...)
			r.curl(t, `proxy_response_status_total{status="200"`, "--cacert", r.root, "https://localhost:6060/metrics")
		},
	},
	{
		name: "client",
		args: []string{
			"--set", "mode=client,port=8000,target=localhost:8443,identity.secret.name=client,verify.cn[0]=server,drain.delay=0",
			"--set", "status.tls=false,replicas=1,networkPolicy.enabled=true,networkPolicy.monitoring[0].podSelector.matchLabels.app=prometheus",
			"--set", "trust.secret=others",
		},
		objects: "Deployment NetworkPolicy Service ServiceAccount",
		before: func(t *testing.T, r *release) {
			t.Helper()
			r.engine.start(t, "hello", "--network", "container:"+r.network, "sallyport-hello")
			r.engine.startServer(t, r.pki, "server", "sallyport:latest", r.network)
		},
		try: func(t *testing.T, r *release) {
			t.Helper()
			r.curl(t, "Hello from behind the tunnel.", "http://localhost:8000/")
		},
	},
	{
		name: "cert-manager",
		args: []string{
			"--set", "identity.source=certManager,identity.certManager.issuerRef.name=ca,allow.cn[0]=client,serviceMonitor.enabled=true",
			"--set", "identity.certManager.uris[0]=spiffe://example.org/web,podDisruptionBudget.enabled=true,service.annotations.a=b",
			"--set", "containers[0].name=hello,containers[0].image=sallyport-hello",
		},
		objects: "Certificate Deployment PodDisruptionBudget Service ServiceAccount ServiceMonitor",
		try: func(t *testing.T, r *release) {
			t.Helper()
			r.curl(t, "Hello from behind the tunnel.", append(r.identity("client"), "https://localhost:8443/")...)
		},
	},
	{
		name: "spiffe",
		args: []string{
			"--set", "identity.source=spiffe,identity.spiffe.socket=socket,allow.uri[0]=" + clientID + ",containers[0].name=hello,containers[0].image=sallyport-hello",
			"--set", "nodeSelector.a=b,priorityClassName=high,podLabels.c=d,imagePullSecrets[0].name=e",
			"--set", "tolerations[0].key=x,topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=z,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
		},
		objects: "Deployment Service ServiceAccount",
		before: func(t *testing.T, r *release) {
			t.Helper()
			r.agent = strings.TrimPrefix(startAgent(t, r.pki, serverID).Address(), "unix://")
			for _, path := range []string{filepath.Dir(r.agent), r.agent} {
				if err := os.Chown(path, imageUser, imageUser); err != nil {
					t.Fatal(err)
				}
			}
		},
		try: func(t *testing.T, r *release) {
			t.Helper()
			r.ids["client"] = r.issue(t, "workload", devpki.Request{URIs: []string{clientID}})
			r.curl(t, "Hello from behind the tunnel.", append(r.identity("client"), "--insecure", "https://localhost:8443/")...)
		},
	},
}

// TestChart makes the objects of each preset, holds them to what Kubernetes knows of
// such objects, and runs the containers of their pods with the very flags, variables
// and files.
func TestChart(t *testing.T) { //nolint:tparallel // the names of containers are those of the pods
	t.Parallel()
	if !full() {
		t.Skip("takes helm, and images of its own; make test-full runs it")
	}
	known := schemas(t)
	e := newEngine(t)
	e.build(t)
	for _, p := range presets {
		t.Run(p.name, func(t *testing.T) {
			name := map[string]string{"exporter-front": "node"}[p.name]
			if name == "" {
				name = "demo"
			}
			if _, err := helm(t, recent, append([]string{"lint", "--strict", chart}, p.args...)...); err != nil {
				t.Error(err)
			}
			text, err := helm(t, recent, append([]string{"template", name, chart}, p.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, text)
			for kind := range strings.FieldsSeq(p.objects) {
				if _, ok := all[kind]; !ok {
					t.Errorf("no %s", kind)
				}
			}
			if len(all) != len(strings.Fields(p.objects)) {
				t.Errorf("%d kinds of objects, want %s", len(all), p.objects)
			}
			conform(t, known, text)
			newRelease(t, e, all["Deployment"].Spec.Template.Spec, name+"-sallyport").run(t, p)
		})
	}
	t.Run("guide", func(t *testing.T) {
		manifests := 0
		for _, b := range readPage(t, "..", "docs/kubernetes.md").blocks {
			if b.info != "yaml" {
				continue
			}
			manifests++
			text := strings.Join(b.lines, "\n")
			conform(t, known, text)
			newRelease(t, e, objects(t, text)["Deployment"].Spec.Template.Spec, "web").run(t, presets[0])
		}
		if manifests == 0 {
			t.Error("no manifest")
		}
	})
}

// conform holds objects to the schemas.
func conform(t *testing.T, known, text string) {
	t.Helper()
	cmd := exec.Command(need(t, "kubeconform"), "-strict", "-summary", "-schema-location", filepath.Join(known, "{{.ResourceKind}}.json"))
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Invalid: 0, Errors: 0, Skipped: 0") {
		t.Errorf("kubeconform: %v\n%s", err, out)
	}
}

// A release is a pod of the chart, run by podman.
type release struct {
	*pki

	engine  *engine
	pod     pod
	network string // the container whose network all share
	ids     map[string]files
	agent   string // the socket of a SPIFFE agent, if there is one
}

func newRelease(t *testing.T, e *engine, p pod, service string) *release {
	t.Helper()
	r := &release{pki: newPKI(t), engine: e, pod: p, network: "sandbox", ids: map[string]files{}}
	r.ids["server"] = r.issue(t, "server", devpki.Request{
		CommonName: "server", DNSNames: []string{"localhost", service + ".default.svc"}, IPs: loopback,
	})
	for _, name := range []string{"client", "prometheus"} {
		r.ids[name] = r.issue(t, name, devpki.Request{CommonName: name})
	}
	return r
}

// identity are curl's flags for one.
func (r *release) identity(name string) []string {
	return []string{"--cacert", r.root, "--cert", r.ids[name].cert, "--key", r.ids[name].key}
}

// curl waits until it gets an answer in the pod that has want in it.
func (r *release) curl(t *testing.T, want string, args ...string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("curl %q: %s", args, last)
		}
	}()
	eventually(t, "curl gets "+want, func() bool {
		out, err := r.engine.inside(t, r.network, "curl", append([]string{"--silent", "--show-error", "--fail"}, args...)...)
		last = out
		return err == nil && strings.Contains(out, want)
	})
}

// run starts the pod's containers, in Kubernetes' order, and ends Sallyport's as it
// would.
func (r *release) run(t *testing.T, p preset) {
	t.Helper()
	// What holds a pod's network; any program that stays does.
	r.engine.start(t, r.network, "--network", "none", "sallyport:latest", "netstat")
	if p.before != nil {
		p.before(t, r)
	}
	var sidecar podContainer
	for _, c := range append(r.pod.InitContainers, r.pod.Containers...) {
		switch repository, _, _ := strings.Cut(c.Image, ":"); repository {
		case "sallyport":
			sidecar = c
			r.startSidecar(t, c)
		case "quay.io/prometheus/node-exporter":
			nsenter := []string{"--net", "--target", r.engine.inspect(t, r.network, "{{.State.Pid}}"), need(t, "prometheus-node-exporter")}
			startPeer(t, "nsenter", append(nsenter, c.Args...)...)
		default:
			r.engine.start(t, c.Name, append([]string{"--network", "container:" + r.network, c.Image}, c.Args...)...)
		}
	}
	if sidecar.Name == "" {
		t.Fatal("no container of Sallyport")
	}
	ports := map[string]int{}
	for _, port := range sidecar.Ports {
		ports[port.Name] = port.ContainerPort
	}
	for _, probe := range []string{
		sidecar.StartupProbe.HTTPGet.Path, sidecar.LivenessProbe.HTTPGet.Path, sidecar.ReadinessProbe.HTTPGet.Path,
	} {
		get := sidecar.ReadinessProbe.HTTPGet
		r.curl(t, "", "--insecure", fmt.Sprintf("%s://127.0.0.1:%d%s", strings.ToLower(get.Scheme), ports[get.Port], probe))
	}
	p.try(t, r)
	// Whose port is not said, or has a certificate that is for no host, is not asked.
	if len(sidecar.Env) > 0 && r.agent == "" {
		r.engine.do(t, "exec", "sallyport", "/sallyport", "status")
	}
	if hook := sidecar.Lifecycle.PreStop.Exec.Command; hook != nil {
		r.engine.do(t, append([]string{"exec", "sallyport"}, hook...)...)
	}
	r.engine.do(t, "stop", "--time", fmt.Sprint(r.pod.TerminationGracePeriodSeconds), "sallyport")
	if code := r.engine.inspect(t, "sallyport", "{{.State.ExitCode}}"); code != "0" {
		t.Errorf("exit code %s", code)
	}
}

// startSidecar starts Sallyport's container.
func (r *release) startSidecar(t *testing.T, c podContainer) {
	t.Helper()
	id := r.ids["server"]
	if c.Args[0] == "client" {
		id = r.ids["client"]
	}
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, []byte(firstToken))
	args := []string{"--network", "container:" + r.network}
	for _, mount := range c.VolumeMounts {
		for _, volume := range r.pod.Volumes {
			switch {
			case volume.Name != mount.Name:
			case volume.CSI.Driver == "csi.spiffe.io":
				args = append(args, "--volume", filepath.Dir(r.agent)+":"+mount.MountPath+":ro")
			case volume.Secret.SecretName != "":
				args = append(args, "--volume", readableDir(t, map[string]string{
					"tls.crt": id.cert, "tls.key": id.key, "ca.crt": r.root, "token": token,
				})+":"+mount.MountPath+":ro")
			}
		}
	}
	for _, env := range c.Env {
		args = append(args, "--env", env.Name+"="+env.Value)
	}
	r.engine.start(t, c.Name, append(append(args, c.Image), c.Args...)...)
}

// TestChartRefuses values that would make no pod, or an unsafe one.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes helm; make test-full runs it")
	}
	valid := "identity.secret.name=tls,allow.cn[0]=client,containers[0].name=a"
	if _, err := helm(t, recent, "template", "x", chart, "--set", valid); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ set, version, want string }{
		{"allow.cn[0]=client", recent, "identity.secret.name: say which Secret"},
		{valid + ",verfy=1", recent, "'verfy' not allowed"},
		{valid + ",mode=both", recent, "/mode"},
		{"identity.secret.name=tls", recent, "allow: say who may connect"},
		{valid + ",allow.all=true", recent, "allow: all, anyone and names exclude each other"},
		{"identity.secret.name=tls,allow.all=true,allow.anyone=true", recent, "allow: all, anyone and names exclude each other"},
		{valid + ",port=0", recent, "/port"},
		{valid + ",allow.cn[0]=", recent, "/allow/cn/0"},
		{valid + ",identity.source=none", recent, "/identity/source"},
		{valid + ",serverName=x", recent, "/serverName"},
		{valid + ",mode=client", recent, "/allow/cn"},
		{valid + ",args[0]=client", recent, "/args/0"},
		{valid + ",image.digest=sha256:1", recent, "/image/digest"},
		{valid + ",drain.preStop=true", recent, "needs status.token.secret"},
		{valid + ",nativeSidecar=true", "1.28", "needs Kubernetes 1.29"},
		{"identity.secret.name=tls,allow.cn[0]=client,nativeSidecar=true", recent, "needs containers"},
		{"identity.source=spiffe,allow.all=true,serviceMonitor.enabled=true", recent, "serviceMonitor.tlsConfig: say how"},
		{"identity.source=certManager,allow.all=true", recent, "which issuer signs"},
		{valid + ",service.type=LoadBalancer,serviceMonitor.enabled=true", recent, "needs service.type ClusterIP"},
		{valid, "1.24", "incompatible with Kubernetes"},
	} {
		if _, err := helm(t, test.version, "template", "x", chart, "--set", test.set); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.set, err, test.want)
		}
	}
}

// TestChartHasTheAlertRules that Prometheus gets.
func TestChartHasTheAlertRules(t *testing.T) {
	t.Parallel()
	copies, err := filepath.Glob(filepath.Join(chart, "files", "*.yml"))
	if err != nil || len(copies) == 0 {
		t.Fatalf("%v: %q", err, copies)
	}
	for _, path := range copies {
		if readText(t, path) != readText(t, filepath.Join("../deploy/prometheus", filepath.Base(path))) {
			t.Errorf("%s is another: make rules", path)
		}
	}
}
