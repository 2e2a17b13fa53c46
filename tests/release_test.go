package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeRelease builds a release for this machine from the sources at root, and
// returns where it is.
func makeRelease(t *testing.T, root string, env ...string) string {
	t.Helper()
	for _, program := range []string{"zip", "jq", "nfpm", "syft"} {
		need(t, program)
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "deploy/packages/release.sh", dir)
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(),
		"VERSION=v1.2.3-rc1", "REVISION=0123abcd", "SOURCE_DATE_EPOCH=1700000000", "PLATFORMS=linux/amd64/v1 windows/amd64"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

// copySources copies what git would, to another path and for nobody else to read.
func copySources(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		from, to := filepath.Join("..", name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if err != nil {
			continue // git has it, and it is being removed
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()&^0o077); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRelease is about what `make release` builds.
func TestRelease(t *testing.T) { //nolint:tparallel // one compiles beside the others as it is
	t.Parallel()
	if !full() {
		t.Skip("compiles everything twice; make test-full runs it")
	}
	dir := makeRelease(t, "..")
	const (
		archive = "sallyport-1.2.3-rc1-linux-amd64.tar.gz"
		bom     = "sallyport-1.2.3-rc1-linux-amd64.cdx.json"
		deb     = "sallyport_1.2.3~rc1-1_amd64.deb"
		rpm     = "sallyport-1.2.3~rc1-1.x86_64.rpm"

		chartArchive = "sallyport-chart-1.2.3-rc1.tgz"
	)

	t.Run("has everything", func(t *testing.T) {
		sums := readText(t, filepath.Join(dir, "SHA256SUMS"))
		for _, name := range []string{
			archive, bom, deb, rpm, chartArchive, "sallyport-1.2.3-rc1-windows-amd64.zip", "sallyport-1.2.3-rc1-windows-amd64.cdx.json",
		} {
			if !strings.Contains(sums, "  "+name+"\n") {
				t.Errorf("no sum of %s:\n%s", name, sums)
			}
		}
		check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
		check.Dir = dir
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	unpacked := t.TempDir()
	if out, err := exec.Command("tar", "-C", unpacked, "--strip-components=1", "-xzf", filepath.Join(dir, archive)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("has a binary that says what it is", func(t *testing.T) {
		out, err := exec.Command(filepath.Join(unpacked, "sallyport"), "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "v1.2.3-rc1") {
			t.Errorf("%v: %q", err, out)
		}
	})

	t.Run("has the guides, and all that they lead to", func(t *testing.T) {
		followLinks(t, unpacked)
		if got, want := len(pagesBelow(t, unpacked)), len(pages(t)); got != want {
			t.Errorf("%d pages, want the %d of the repository", got, want)
		}
	})

	t.Run("lists the modules of the binary", func(t *testing.T) {
		out, err := exec.Command("go", "version", "-m", filepath.Join(unpacked, "sallyport")).Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "dep" {
				want = append(want, fields[1]+" "+fields[2])
			}
		}
		var list struct {
			BOMFormat  string
			Components []struct{ Type, Name, Version string }
		}
		if err := json.Unmarshal([]byte(readText(t, filepath.Join(dir, bom))), &list); err != nil || list.BOMFormat != "CycloneDX" {
			t.Fatalf("%v, %q", err, list.BOMFormat)
		}
		var got []string
		for _, c := range list.Components {
			if c.Type == "library" {
				got = append(got, c.Name+" "+c.Version)
			}
		}
		for _, module := range want {
			if !slices.Contains(got, module) {
				t.Errorf("%s is not listed", module)
			}
		}
		if len(want) < 10 {
			t.Errorf("the binary has %d modules", len(want))
		}
	})

	t.Run("has a chart for this image", func(t *testing.T) {
		text, err := helm(t, recent, "template", "x", filepath.Join(dir, chartArchive), "--set", "identity.secret.name=tls,allow.cn[0]=client")
		if err != nil || !strings.Contains(text, `image: "sallyport:v1.2.3-rc1"`) || !strings.Contains(text, "helm.sh/chart: sallyport-1.2.3-rc1\n") {
			t.Errorf("%v\n%s", err, text)
		}
	})

	// Beside Debian's dpkg, rpm has a say of its own about what may be in a package.
	for _, format := range []struct{ name, install, remove string }{
		{"deb", "dpkg --install /package", "dpkg --remove sallyport"},
		{"rpm", "rpm --force-debian --nodeps --install /package", "rpm --force-debian --nodeps --erase sallyport"},
	} {
		t.Run("has a "+format.name+" that installs", func(t *testing.T) {
			path := map[string]string{"deb": filepath.Join(dir, deb), "rpm": filepath.Join(dir, rpm)}[format.name]
			need(t, strings.Fields(format.install)[0])
			tryPackage(t, path, format.install, format.remove)
		})
	}

	t.Run("is the same from elsewhere", func(t *testing.T) {
		again := makeRelease(t, copySources(t), "GOCACHE="+t.TempDir(), "PLATFORMS=linux/amd64/v1", "HOSTNAME=elsewhere", "TZ=Asia/Tokyo")
		first, second := readText(t, filepath.Join(dir, "SHA256SUMS")), readText(t, filepath.Join(again, "SHA256SUMS"))
		for line := range strings.Lines(second) {
			if !strings.Contains(first, line) {
				t.Errorf("%s is not among\n%s", strings.TrimSpace(line), first)
			}
		}
		if strings.Count(second, "\n") != 5 {
			t.Errorf("not all has been compared:\n%s", second)
		}
	})
}

// installed is what is tried in a copy of this system once the package is there.
const installed = `
set -e
/usr/bin/sallyport --version
id sallyport
stat --format '%a %U:%G' /etc/sallyport
zcat /usr/share/man/man1/sallyport.1.gz | grep -m1 '^\.TH'
bash -c '. /usr/share/bash-completion/completions/sallyport; complete -p sallyport'
grep -q compdef /usr/share/zsh/*/_sallyport
grep -q sallyport /usr/share/fish/vendor_completions.d/sallyport.fish
systemd-analyze verify --man=no /usr/lib/systemd/system/sallyport@.service /usr/lib/systemd/system/sallyport.socket
ls /usr/share/doc/sallyport/copyright /usr/share/doc/sallyport/config.example.yaml
cd /usr/share/doc/sallyport; ls README.md docs/quickstart.md docs/config.schema.json deploy/systemd/web.yaml deploy/prometheus/sallyport.rules.yml
echo mine >/etc/sallyport/web.yaml
`

// removed is what is tried once it has gone.
const removed = `
! [ -e /usr/bin/sallyport ]
! [ -e /usr/lib/systemd/system/sallyport@.service ]
cat /etc/sallyport/web.yaml
`

// tryPackage installs a package in a copy of this system, of which nothing stays,
// looks at what is there, and removes it.
func tryPackage(t *testing.T, path, install, remove string) {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "installing packages takes root")
	}
	script := fmt.Sprintf(`
set -e
mount -t tmpfs none %[1]s
mkdir %[1]s/upper %[1]s/work %[1]s/root
mount -t overlay none -o lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work %[1]s/root
mount --rbind /dev %[1]s/root/dev
mount -t proc none %[1]s/root/proc
cp %[2]s %[1]s/root/package
for step in %[3]s; do chroot %[1]s/root sh -c "$step"; done
`, t.TempDir(), path, quoted(install, installed, remove, removed))
	cmd := exec.Command(need(t, "unshare"), "--mount", "--pid", "--fork", "sh", "-c", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"v1.2.3-rc1", "(sallyport)", "750 root:sallyport\n", ".TH ", "complete ", "config.example.yaml\n", "docs/quickstart.md\n", "\nmine\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// quoted are words for a shell.
func quoted(words ...string) string {
	for i, word := range words {
		words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}
