// Package socket names the places where Sallyport accepts and dials, and opens
// them: TCP and UNIX stream sockets behind one Address, sockets that a service
// manager hands over, and targets that a proxy leads to.
//
//	addr, err := socket.ParseListenAddress("localhost:8443")
//	if err != nil {
//		return fmt.Errorf("--listen: %w", err)
//	}
//	ln, err := socket.Listen(ctx, addr, socket.ListenOptions{KeepAlive: 15 * time.Second})
//
// It speaks no TLS (what a Proxy needs of it, the Proxy is given), keeps no
// connection, and does not judge whether an address may be used:
// Address.IsLocal only answers the question that such a judgement needs.
package socket

import "errors"

// errNoAddress is what opening the zero Address ends with.
var errNoAddress = errors.New("no address given")
