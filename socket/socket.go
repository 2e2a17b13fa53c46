// Package socket names the places where Sallyport accepts and dials, and opens
// them: TCP and UNIX stream sockets behind one Address.
//
//	addr, err := socket.ParseAddress("localhost:8443")
//	if err != nil {
//		return fmt.Errorf("--listen: %w", err)
//	}
//	ln, err := socket.Listen(ctx, addr)
//
// It does not speak TLS, it keeps no connection, and it does not judge whether
// an address may be used: Address.IsLocal only answers the question that such
// a judgement needs.
package socket

import "errors"

// errNoAddress is what opening the zero Address ends with.
var errNoAddress = errors.New("no address given")
