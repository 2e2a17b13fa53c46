// Package sandbox confines the process to what its configuration names: to some directories, some TCP ports and some UNIX
// sockets. Whatever takes the process over, by a flaw in a parser or in a library, finds no other file to read and no other
// service to connect to.
//
//	abi, err := sandbox.Enter(sandbox.Rules{
//		Files:        []string{"/etc/tunnel/cert.pem", "/etc/tunnel/key.pem"},
//		BindPorts:    []uint16{8443},
//		ConnectPorts: []uint16{8080},
//	})
//	if err != nil {
//		return err // the process is not confined, or not in all its threads
//	}
//	if abi == 0 {
//		log.Print("this system has no Landlock")
//	}
//
// It is made of Landlock (landlock(7)), which Linux has since 5.13. Each later version can forbid more, and as much is
// forbidden as the running kernel can: TCP ports from 6.7 on, signals and abstract UNIX sockets of other processes from 6.12
// on. Elsewhere nothing is.
//
// A sandbox is for good: nothing in the process can leave it or widen it. What is open already stays open. Landlock knows
// ports, but not hosts, and files, but not their owners: neither firewall nor file permissions become superfluous. It does
// not reach multipath TCP, which is what Go's listeners use where the system has it; ports to bind are a rule for the others.
package sandbox

// Rules says what the process may do once it is in the sandbox. The zero value allows next to nothing: no file, no port.
// Paths that are relative are so to the working directory; those that do not exist are left out, unless said otherwise, and
// so are empty ones.
type Rules struct {
	// Files may be read, and so may whatever takes their place: a rule for a file would end with it, so their directories
	// are what is allowed, with all that is below. Where a path leads over symbolic links, the directories of the links and
	// of what they lead to are meant (see homes). A file right below / or /dev is allowed alone, and a directory as it is.
	Files []string

	// WriteDirs may be read, and whatever is below them written, made and removed.
	WriteDirs []string

	// ListenSockets are the paths of UNIX sockets that may be made and removed, by binding and unlinking them. Like Files,
	// they stand for their directories.
	ListenSockets []string

	// DialSockets are the paths of UNIX sockets that may be connected to. They stand for their directories, and need not
	// exist yet. Names that begin with @ are of the abstract namespace, where all are allowed or none.
	DialSockets []string

	// BindPorts and ConnectPorts are TCP ports that may be listened on, and connected to on any host.
	BindPorts, ConnectPorts []uint16

	// Resolver lets Go's resolver look up names: its files may be read, and DNS servers asked.
	Resolver bool

	// SystemTrust lets crypto/x509 read the CA certificates that the system trusts, or those that $SSL_CERT_FILE and
	// $SSL_CERT_DIR name.
	SystemTrust bool

	// Proxies lets HTTP clients connect to the proxies that $HTTP_PROXY and $HTTPS_PROXY name.
	Proxies bool

	// SystemLog lets the process connect to what listens at /dev/log, and again to what does after a restart.
	SystemLog bool

	// Itself lets the process read what /proc tells about it, for its metrics and profiles.
	Itself bool
}

// Enter confines the process, all its threads and goroutines, to what the rules allow. It returns the version of Landlock
// that sees to it, as kernels count them; 0 is none, and no error. After an error the process must not go on.
func Enter(r Rules) (abi int, err error) { return enter(r) }
