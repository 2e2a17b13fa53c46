package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A contestant is a program that is compared.
type contestant struct {
	name    string
	what    string // for people
	program string // its path; a command's name, as long as it has not been looked for
	only    bool   // it takes part only if it is named

	asksVersion string // the argument to be asked for its version with; "" if it is not asked
	serverOnly  bool   // it has no client mode
	plain       bool   // it speaks no TLS, and neither do those who talk to it

	args func(post) ([]string, error) // the arguments; it may write files to post.dir
	env  func(post) []string          // what is added to the environment; may be nil
}

// A post is what one process of a contestant has to do.
type post struct {
	client         bool   // TLS is on the target's side, not on the clients'
	listen, target string // HOST:PORT
	certs          string // a directory; see certificates
	dir            string // for files of its own
}

// identity is the beginning of the names of the files with the identity to have.
func (p post) identity() string {
	if p.client {
		return filepath.Join(p.certs, "client")
	}
	return filepath.Join(p.certs, "server")
}

// authority is the file with the authority to trust.
func (p post) authority() string { return filepath.Join(p.certs, "ca.pem") }

// targetPort is the target at a name that its certificate has, for those who take the name they verify from there.
func (p post) targetPort() string {
	return "localhost" + p.target[strings.LastIndexByte(p.target, ':'):]
}

// write writes a configuration file and returns its path.
func (p post) write(name, text string) (string, error) {
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// contestants are all that there are. Those that are given by a path have none without it.
func contestants(o *options) ([]*contestant, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return []*contestant{
		sidecar("sallyport", "this build", o.sallyport),
		sidecar("other", "the Sallyport given by -other", o.other),
		sidecar("ghostunnel", "the Ghostunnel given by -ghostunnel", o.ghostunnel),
		part(self, "copyloop", "a plain io.Copy relay over crypto/tls, as Go has them"),
		haproxy("haproxy", 0), haproxy("haproxy-64k", 64<<10),
		nginx("nginx", 0), nginx("nginx-64k", 64<<10),
		stunnel(), hitch(),
		part(self, "relay", "the floor: a relay without TLS, with buffers of 64 KiB"),
	}, nil
}

// choose returns those that take part, their programs found, and says who does not and why.
func choose(all []*contestant, names []string, say func(format string, args ...any)) ([]*contestant, error) {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c *contestant) bool { return c.name == name }) {
			return nil, fmt.Errorf("-contestants %s: there is none; see -list", name)
		}
	}
	var chosen []*contestant
	for _, c := range all {
		named := slices.Contains(names, c.name)
		switch {
		case !named && (len(names) > 0 || c.only || c.program == ""):
			continue
		case c.program == "":
			return nil, fmt.Errorf("-contestants %s: needs -%s PATH", c.name, c.name)
		}
		path, err := find(c.program)
		if err != nil {
			say("left out: %s: %v", c.name, err)
			continue
		}
		c.program = path
		chosen = append(chosen, c)
	}
	if len(chosen) == 0 {
		return nil, errors.New("nobody takes part; see -list")
	}
	return chosen, nil
}

// find returns where a program is. Debian keeps servers where the PATH of an ordinary user does not look.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil && !strings.ContainsRune(program, filepath.Separator) {
		if path, err := exec.LookPath(filepath.Join("/usr/sbin", program)); err == nil {
			return path, nil
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// version is what the program says when it is asked, in one line.
func (c *contestant) version() string {
	if c.asksVersion == "" {
		return c.what
	}
	said, err := exec.Command(c.program, c.asksVersion).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	if err != nil {
		return c.what
	}
	return cmp.Or(strings.TrimPrefix(line, "[ ] "), c.what)
}

// sidecar is Sallyport or what is run like it.
func sidecar(name, what, program string) *contestant {
	return &contestant{
		name: name, what: what, program: program, asksVersion: "--version",
		args: func(p post) ([]string, error) {
			args := []string{
				"--cert", p.identity() + ".pem", "--key", p.identity() + "-key.pem", "--cacert", p.authority(),
				"--listen", p.listen, "--quiet", "all",
			}
			if p.client {
				return append([]string{"client", "--target", p.targetPort()}, args...), nil
			}
			return append([]string{"server", "--target", p.target, "--allow-all"}, args...), nil
		},
	}
}

// part is a program that this one has in it; see play.
func part(self, name, what string) *contestant {
	return &contestant{
		name: name, what: what, program: self, plain: name == "relay",
		args: func(post) ([]string, error) { return nil, nil },
		env: func(p post) []string {
			return playOrder{Part: name, Client: p.client, Listen: p.listen, Target: p.target, Certs: p.certs}.env()
		},
	}
}
