package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// loopback is where everything happens.
	loopback = "127.0.0.1"

	// patience is how long anything may take that is not measured.
	patience = 10 * time.Second

	// attempts is how often a contestant is started. A port that was free may be another's by the time it is listened on.
	attempts = 3
)

// A mode is where TLS is.
type mode int

const (
	serverMode mode = iota // clients speak TLS to the contestant
	clientMode             // the contestant speaks TLS to its target
	pairMode               // two of them, one in each mode, with TLS between
)

// A site is a contestant at work: its processes, with a target behind them.
type site struct {
	contestant *contestant
	mode       mode
	certs      *certificates
	address    string // where clients connect
	backend    *backend
	processes  []*exec.Cmd
	ended      chan *os.ProcessState // of processes
	end        context.CancelFunc
}

// open starts a contestant on a processor, with a target, and waits until it serves. Dir is for its files.
func (c *contestant) open(ctx context.Context, m mode, certs *certificates, cpu int, dir string) (*site, error) {
	var err error
	for range attempts {
		var s *site
		if s, err = c.openOnce(ctx, m, certs, cpu, dir); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("starting %s: %w", c.name, err)
}

func (c *contestant) openOnce(ctx context.Context, m mode, certs *certificates, cpu int, dir string) (_ *site, err error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &site{contestant: c, mode: m, certs: certs, ended: make(chan *os.ProcessState, 2), end: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var config *tls.Config
	if m == clientMode && !c.plain {
		config = certs.serverConfig()
		config.CurvePreferences = x25519
	}
	if s.backend, err = newBackend(ctx, config); err != nil {
		return nil, err
	}
	s.address = s.backend.listener.Addr().String()
	if m == serverMode || m == pairMode {
		if err = s.start(ctx, false, cpu, filepath.Join(dir, c.name+"-server")); err != nil {
			return nil, err
		}
	}
	if m == clientMode || m == pairMode {
		if err = s.start(ctx, true, cpu, filepath.Join(dir, c.name+"-client")); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// start starts one process in front of what there is.
func (s *site) start(ctx context.Context, client bool, cpu int, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	p := post{client: client, listen: port, target: s.address, certs: s.certs.dir, dir: dir}
	args, err := s.contestant.args(p)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(s.contestant.program, args...)
	cmd.Env = os.Environ()
	if s.contestant.env != nil {
		cmd.Env = append(cmd.Env, s.contestant.env(p)...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := startOn(cpu, cmd); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	go func() {
		_ = cmd.Wait() // killed, or see its log
		s.ended <- cmd.ProcessState
	}()
	s.address = p.listen
	return s.listening(ctx, log.Name())
}

// listening waits until something listens at the address.
func (s *site) listening(ctx context.Context, log string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ticker.C:
		case ended := <-s.ended:
			s.ended <- ended // close waits for it
			said, _ := os.ReadFile(log)
			lines := strings.Split(strings.TrimSpace(string(said)), "\n")
			return fmt.Errorf("it ended: %v: %s", ended, lines[len(lines)-1])
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s: %w", s.address, err)
		}
	}
}

// freePort is an address that nobody listened at a moment ago.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// close ends all of it.
func (s *site) close() error {
	s.end()
	var errs []error
	for _, cmd := range s.processes {
		errs = append(errs, killGroup(cmd.Process))
	}
	for range s.processes {
		<-s.ended // by the signal, and not by itself
	}
	if s.backend != nil {
		s.backend.wait()
	}
	return errors.Join(errs...)
}

// dial connects as a client. The configuration says nothing where the client speaks no TLS.
func (s *site) dial(ctx context.Context, config *tls.Config) (stream, error) {
	return dialAt(ctx, s.address, config, s.mode == serverMode && !s.contestant.plain)
}

// dialAt connects to an address, and speaks TLS there or not. It takes no longer than patience.
func dialAt(ctx context.Context, address string, config *tls.Config, secure bool) (stream, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	socket := conn.(*net.TCPConn)
	if !secure {
		return socket, nil
	}
	session := tls.Client(socket, config)
	if err := session.HandshakeContext(ctx); err != nil {
		_ = socket.Close()
		return nil, err
	}
	if suite := session.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		_ = socket.Close()
		return nil, fmt.Errorf("it chose %s: only TLS_AES_128_GCM_SHA256 is compared", tls.CipherSuiteName(suite))
	}
	return session, nil
}

// during closes a connection when the context ends, or earlier, when what it returns is called.
func during(ctx context.Context, conn net.Conn) (done func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return func() {
		stop()
		_ = conn.Close()
	}
}

// memory is how many bytes all processes have.
func (s *site) memory() (int64, error) {
	all, err := s.pids()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range all {
		one, err := memoryOf(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// pids are all processes of the contestant.
func (s *site) pids() ([]int, error) {
	var all []int
	for _, cmd := range s.processes {
		some, err := family(cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
