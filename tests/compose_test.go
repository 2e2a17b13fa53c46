package tests

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// A composed is what the tests read of a service of the compose example.
type composed struct {
	Image       string
	Command     []string
	Environment map[string]string
	Volumes     []string
	NetworkMode string   `json:"network_mode"`
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	Ports       []string
}

// TestComposeExample runs the containers of docker/compose.yaml with what it says,
// and Prometheus with its file. One network stands for the two, with the names of
// the services in it: podman needs more than a test may have to make networks.
func TestComposeExample(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("builds images; make test-full runs it")
	}
	var document any
	if err := yaml.Unmarshal([]byte(readText(t, "../docker/compose.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Services map[string]composed }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t)
	e.build(t)
	t.Cleanup(func() { e.do(t, "volume", "rm", "--all", "--force") })

	dir := t.TempDir()
	hosts := filepath.Join(dir, "hosts")
	writeFile(t, hosts, []byte("127.0.0.1 localhost hello client\n"))
	hosts = filepath.Join(readableDir(t, map[string]string{"hosts": hosts}), "hosts")
	hello := file.Services["hello"]
	e.start(t, "hello", "--network", "none", hello.Image)
	flags := func(name string) []string {
		t.Helper()
		s, ok := file.Services[name]
		if !ok {
			t.Fatalf("no service %s", name)
		}
		if name != "certs" && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"})) {
			t.Errorf("%s may do more than it needs", name)
		}
		args := []string{"--network", "container:hello", "--volume", hosts + ":/etc/hosts:ro"}
		for _, volume := range s.Volumes {
			args = append(args, "--volume", volume)
		}
		for variable, value := range s.Environment {
			args = append(args, "--env", variable+"="+value)
		}
		return append(append(args, s.Image), s.Command...)
	}
	e.do(t, append(append([]string{"run", "--rm"}, confined...), flags("certs")...)...)
	for _, name := range []string{"server", "client"} {
		e.start(t, name, flags(name)...)
		e.healthy(t, name)
	}
	if got := file.Services["server"].NetworkMode; got != "service:hello" {
		t.Errorf("server has the network %q", got)
	}
	for _, test := range []struct{ url, want string }{
		{"http://localhost:8000/", "Hello from behind the tunnel."},
		{"http://localhost:6061/_status", `"ok":true`},
	} {
		address := strings.TrimPrefix(test.url, "http://localhost:")
		port, _, _ := strings.Cut(address, "/")
		if !slices.Contains(file.Services["client"].Ports, "127.0.0.1:"+port+":"+port) {
			t.Errorf("port %s is not published", port)
		}
		if out, err := e.inside(t, "hello", "curl", "--silent", "--show-error", test.url); err != nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v\n%s", test.url, err, out)
		}
	}

	// Prometheus' image cannot be had without a registry; its program can.
	config := readText(t, "../docker/prometheus.yml")
	rules, err := filepath.Abs("../deploy/prometheus/sallyport.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(file.Services["prometheus"].Volumes, "../deploy/prometheus/sallyport.rules.yml:/etc/prometheus/sallyport.rules.yml:ro") {
		t.Error("Prometheus does not get the rules")
	}
	writeFile(t, filepath.Join(dir, "prometheus.yml"), []byte(strings.ReplaceAll(config, "/etc/prometheus/sallyport.rules.yml", rules)))
	startPeer(t, "nsenter", "--net", "--target", e.inspect(t, "hello", "{{.State.Pid}}"), need(t, "unshare"), "--mount", "sh", "-c",
		`mount --bind "$3" /etc/hosts && exec "$2" --config.file="$1/prometheus.yml" --storage.tsdb.path="$1/data" --web.listen-address=127.0.0.1:9090`,
		"sh", dir, need(t, "prometheus"), hosts)
	eventually(t, "Prometheus sees both tunnels and the rules", func() bool {
		ask := func(path string) string {
			out, _ := e.inside(t, "hello", "curl", "--silent", "--fail", "http://localhost:9090"+path) // not ready yet
			return out
		}
		return strings.Count(ask("/api/v1/query?query=up==1"), `"job":"sallyport"`) == 2 &&
			strings.Contains(ask("/api/v1/rules"), "SallyportDown")
	})
}
