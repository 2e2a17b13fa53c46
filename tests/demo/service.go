package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const greeting = "Hello from the service behind the tunnel.\n"

// A service is what the tunnels are in front of: GET / greets, POST /echo
// answers with what it was sent.
type service struct {
	address string
	server  *http.Server
	ended   chan error
}

func startService(ctx context.Context) (*service, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, greeting) // whoever asked may be gone
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // likewise
	})
	s := &service{
		address: listener.Addr().String(),
		server:  &http.Server{Handler: mux, ReadTimeout: time.Minute, WriteTimeout: time.Minute},
		ended:   make(chan error, 1),
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

// close ends the service and waits until it has ended.
func (s *service) close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
