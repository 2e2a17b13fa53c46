package webproxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"

	"sallyport/internal/memnet"
)

// BenchmarkRequest is one small request after the other on one connection, from a client and to a target that cost next to
// nothing.
func BenchmarkRequest(b *testing.B) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	p := &Proxy{Dial: func(context.Context) (net.Conn, error) {
		near, far := memnet.Pipe(64 << 10)
		go func() {
			in := bufio.NewReader(far)
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					_ = far.Close()
					return
				}
				if len(line) == 2 {
					_, _ = io.WriteString(far, answer)
				}
			}
		}()
		return near, nil
	}}
	client, server := memnet.Pipe(64 << 10)
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.Handle(context.Background(), server)
	}()
	in := bufio.NewReader(client)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = io.WriteString(client, "GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
		length := 0
		for length != 2 {
			line, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			length = len(line)
		}
		if _, err := in.Discard(len("hello")); err != nil {
			b.Fatal(err)
		}
	}
	_ = client.Close()
	<-over
	p.Close()
}
