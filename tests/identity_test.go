package tests

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIdentityFromEachSource serves with the same identity from each kind of
// file, named by flags or in the environment.
func TestIdentityFromEachSource(t *testing.T) {
	t.Parallel()
	const password = "s3cret-passw0rd"
	p := newPKI(t)
	id := p.server(t)
	store, err := id.PKCS12(password)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) string {
		path := filepath.Join(p.dir, name)
		writeFile(t, path, data)
		return path
	}
	p12, unnamed := file("server.p12", store), file("server.store", store)
	secret := file("password", []byte(password+"\n"))
	config := p.clientConfig(p.client(t))

	for _, test := range []struct {
		name       string
		flags, env []string
	}{
		{"cert and key", id.flags(), nil},
		{"cert and key in one file", []string{"--cert", id.combined, "--key", id.combined}, nil},
		{"PEM keystore", []string{"--keystore", id.combined}, nil},
		{"PKCS#12", []string{"--keystore", p12, "--storepass", password}, nil},
		{"PKCS#12 and password file", []string{"--keystore", p12, "--storepass-file", secret}, nil},
		{"PKCS#12 by its content", []string{"--keystore", unnamed, "--storepass", password}, nil},
		{"cert and key from the environment", nil, []string{"CERT_PATH=" + id.cert, "KEY_PATH=" + id.key}},
		{"keystore from the environment", nil, []string{"KEYSTORE_PATH=" + p12, "KEYSTORE_PASS=" + password}},
		{"flag over environment", id.flags(), []string{"CERT_PATH=" + os.DevNull, "KEY_PATH=" + os.DevNull}},
		{"own names", nil, []string{"SALLYPORT_KEYSTORE=" + p12, "SALLYPORT_STOREPASS=" + password}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			listen := reserve(t)
			server := startUnready(t, append(test.env, "CACERT_PATH="+p.root, "SALLYPORT_LISTEN="+listen),
				append(test.flags, "server", "--target", serve(t, "tcp", echo).address, "--allow-all", "--status", "http://"+reserve(t))...)
			server.waitReady(t)
			if got := shown(t, listen, config); !got.Equal(id.Leaf) {
				t.Errorf("serves serial %x, want %x", got.SerialNumber, id.Leaf.SerialNumber)
			}
			server.stop(t)
			if containsAll(server.stdout.String()+server.stderr.String(), []string{password}) {
				t.Error("the password is printed")
			}
		})
	}
}
