package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// password is what must not show up anywhere.
const password = "hunter2"

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	secret := Secret(password)
	holder := struct{ Password Secret }{secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v"} {
		for _, value := range []any{secret, &secret, holder, []Secret{secret}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, password) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", password)) {
				t.Errorf("%s of %T shows it: %s", verb, value, text)
			}
		}
	}
	encoded, err := json.Marshal(holder)
	if err != nil || string(encoded) != `{"Password":"[hidden]"}` {
		t.Errorf("JSON is %s, %v", encoded, err)
	}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("", "secret", secret)
	if !strings.Contains(b.String(), "secret=[hidden]") {
		t.Errorf("logged as %s", b.String())
	}
	if string(secret) != password {
		t.Error("the secret itself is lost")
	}
}

func TestConfigurationIsLoggedWithoutSecrets(t *testing.T) {
	t.Parallel()
	sidecar, _ := mustParse(t, strings.Fields("server --listen :8443 --target localhost:8080 --keystore id.p12 --storepass hunter2 "+
		"--allow-cn alice --status unix:/s --target-status http://user:hunter2@localhost/health?token=hunter2 "+
		"--metrics-url https://user:hunter2@in.example/hunter2?token=hunter2"))
	handlers := map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			slog.New(handler(&b)).Info("starting", "config", sidecar, "tunnel", &sidecar.Tunnels[0])
			if strings.Contains(b.String(), password) {
				t.Errorf("the password is logged: %s", b.String())
			}
			for _, want := range []string{":8443", "localhost:8080", "id.p12", "alice", "unix:/s", "http://localhost/health", "https://in.example"} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("%s is not logged: %s", want, b.String())
				}
			}
		})
	}
}

func TestAnHSMIsLoggedWithoutItsPIN(t *testing.T) {
	t.Parallel()
	sidecar, _ := mustParse(t, strings.Fields("server --listen :8443 --target localhost:8080 --allow-all "+
		"--cert c.pem --pkcs11-module hsm.so --pkcs11-token-label token --pkcs11-pin hunter2"))
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("starting", "config", sidecar, "tunnel", &sidecar.Tunnels[0])
	if strings.Contains(b.String(), password) {
		t.Errorf("the PIN is logged: %s", b.String())
	}
	for _, want := range []string{"c.pem", "hsm.so", "token"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not logged: %s", want, b.String())
		}
	}
}

func TestErrorsAndHelpHoldNoSecret(t *testing.T) {
	t.Parallel()
	lines := []string{
		"server --storepass hunter2",
		"server --storepass hunter2 --storepass hunter2",
		"server --storepass=hunter2 --listen nonsense",
		"server --storepass my hunter2",
		"server --pkcs11-pin hunter2",
		"server --pkcs11-pin hunter2 --pkcs11-pin hunter2",
		"server --pkcs11-pin my hunter2",
		"--storepass my hunter2",
		"server --storepass @hunter2",
		"server --storepas=hunter2",
		"server --storepas @hunter2",
		"server --storepass hunter2 --help",
		"certs init d --storepass hunter2 e hunter2",
		"--storepass hunter2 --help-man",
		"--storepass hunter2 --help-long",
		leastServer + " --target-status ftp://hunter2@a",
		leastServer + " --metrics-url ftp://hunter2@a",
		leastServer + " --metrics-url http://me:hunter2@a:0",
		leastClient + " --proxy ftp://u:hunter2@a",
		leastClient + " --proxy http://u:hunter2@a/path",
		leastClient + " --proxy http://u:hunter2@",
		leastClient + " --proxy http://u:hunter2@a:port",
		leastClient + " --proxy http://:hunter2@a",
		leastClient + " --proxy http://u:hunter2%00@a",
		leastClient + " --proxy http://u:hunter2%zz@a",
		leastClient + " --proxy http://u:hunter2@a --proxy-cert c",
		leastClient + " --proxy http://u:hunter2@a --proxy-auth-file f",
		leastClient + " --proxy http://u:hunter2@a --proxy http://u:hunter2@a",
		leastClient + " --connect-proxy u:hunter2@a:80",
	}
	for _, line := range lines {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			_, err := Parse(strings.Fields(line), environment("KEYSTORE_PASS=hunter2", "SALLYPORT_TARGET_STATUS=hunter2"), &out, "v1.2.3")
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("the error holds it: %v", err)
			}
			if strings.Contains(out.String(), password) {
				t.Errorf("what was written holds it: %s", out.String())
			}
		})
	}
}

func TestSecretsAreThoseParsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string
		want []string
	}{
		{"server --listen :1 --target unix:/s", nil},
		{"server --storepass hunter2", []string{"hunter2"}},
		{"server --storepass=hunter2 --pkcs11-pin 1234", []string{"hunter2", "1234"}},
		{"--storepass hunter2 client", []string{"hunter2"}},
		{"certs init d --storepass=a=b", []string{"a=b"}},
		{"certs init d --storepass=--listen", []string{"--listen"}},
		{"server --target-status http://u:p@localhost/", []string{"http://u:p@localhost/"}},
		{"client --proxy http://u:p@proxy --connect-proxy=http://u:p@proxy", []string{"http://u:p@proxy", "http://u:p@proxy"}},
		{"server --storepass", nil},
		{"server --storepass=", []string{""}},
		{"server --storepass-file f --status-token-file f", nil},
		{"certs init -- --storepass hunter2", nil}, // the names of a directory and of what follows
	} {
		if got := Secrets(strings.Fields(test.line)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.line, got, test.want)
		}
	}
}

func TestSecretsLieWithinTheArguments(t *testing.T) {
	t.Parallel()
	args := []string{"server", "--storepass=hunter2", "--pkcs11-pin", "1234"}
	secrets := Secrets(args)
	if len(secrets) != 2 || unsafe.StringData(secrets[0]) != unsafe.StringData(args[1][len("--storepass="):]) ||
		unsafe.StringData(secrets[1]) != unsafe.StringData(args[3]) {
		t.Errorf("%q are copies", secrets)
	}
}
