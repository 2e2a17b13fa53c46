package socket

import (
	"encoding/binary"
	"io"
	"net/netip"
)

// SOCKS5 on the wire (RFC 1928, sections 3 to 6; RFC 1929).
const (
	socksVersion   = 5
	socksConnect   = 1
	socksSucceeded = 0

	socksNoAuth   = 0
	socksPassword = 2
	socksNoMethod = 0xff

	socksPasswordVersion = 1

	socksIPv4 = 1
	socksName = 3
	socksIPv6 = 4
)

// askSOCKS5 has a SOCKS5 proxy connect to the target. Every answer says how long
// it is, so that not a byte is read behind them.
//
// golang.org/x/net/proxy is not used for this: it goes on with a method that it
// did not offer, tells the proxy's answers apart by words alone, and what it
// returns hides the socket from those who would half-close it.
func askSOCKS5(conn io.ReadWriter, target Address, user, password string) error {
	if err := socksGreet(conn, user, password); err != nil {
		return err
	}
	if _, err := conn.Write(socksRequest(target)); err != nil {
		return err
	}
	return readSOCKSReply(conn)
}

// socksGreet agrees on a method of authentication, and does it.
func socksGreet(conn io.ReadWriter, user, password string) error {
	greeting := []byte{socksVersion, 1, socksNoAuth}
	if user != "" {
		greeting = []byte{socksVersion, 2, socksNoAuth, socksPassword}
	}
	if _, err := conn.Write(greeting); err != nil {
		return err
	}
	method, err := readSOCKSMethod(conn)
	switch {
	case err != nil:
		return err
	case method == socksNoAuth:
		return nil
	case method == socksPassword && user != "":
		return socksLogIn(conn, user, password)
	case method == socksNoMethod && user == "":
		return refused(reasonProxyAuth, "the proxy wants a user and a password; put them into --proxy-auth-file, or into the URL")
	case method == socksNoMethod:
		return refused(reasonProxyAuth, "the proxy wants to know who asks in another way than by a user and a password, which is all that Sallyport has")
	}
	return refused(reasonProxyError, "the proxy chose the authentication method %d, which was not offered", method)
}

// readSOCKSMethod reads the answer to a greeting.
func readSOCKSMethod(from io.Reader) (byte, error) {
	var answer [2]byte
	if _, err := io.ReadFull(from, answer[:]); err != nil {
		return 0, err
	}
	return answer[1], checkSOCKSVersion(answer[0])
}

func checkSOCKSVersion(version byte) error {
	if version == socksVersion {
		return nil
	}
	hint := "it may be no SOCKS5 proxy; look at the scheme and the port"
	if version == 'H' {
		hint = "it seems to be an HTTP proxy; write http://"
	}
	return refused(reasonProxyError, "the answer is not SOCKS 5 but begins with byte %d; %s", version, hint)
}

// socksLogIn says who asks (RFC 1929).
func socksLogIn(conn io.ReadWriter, user, password string) error {
	message := []byte{socksPasswordVersion, byte(len(user))} //nolint:gosec // CheckCredentials bounds both
	message = append(message, user...)
	message = append(message, byte(len(password))) //nolint:gosec // as above
	message = append(message, password...)
	if _, err := conn.Write(message); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	switch {
	case answer[0] != socksPasswordVersion:
		return refused(reasonProxyError, "the answer to user and password is of version %d, which is not known", answer[0])
	case answer[1] != socksSucceeded:
		return refused(reasonProxyAuth, "the proxy does not take this user with this password")
	}
	return nil
}

// socksRequest asks for a connection. A name is for the proxy to look up.
func socksRequest(target Address) []byte {
	request := []byte{socksVersion, socksConnect, 0}
	switch ip, err := netip.ParseAddr(target.host); {
	case err != nil:
		request = append(request, socksName, byte(len(target.host))) //nolint:gosec // ParseAddress bounds it
		request = append(request, target.host...)
	case ip.Unmap().Is4():
		request = append(request, socksIPv4)
		request = append(request, ip.Unmap().AsSlice()...)
	default:
		request = append(request, socksIPv6)
		request = append(request, ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(request, target.port)
}

// readSOCKSReply reads the answer to a request. Of one that refuses, the rest may
// not come.
func readSOCKSReply(from io.Reader) error {
	var answer [2]byte
	if _, err := io.ReadFull(from, answer[:]); err != nil {
		return err
	}
	if err := checkSOCKSVersion(answer[0]); err != nil {
		return err
	}
	if code := answer[1]; code != socksSucceeded {
		return socksRefusal(code)
	}
	// What is left is an address that says nothing: reserved, kind, address, port.
	var rest [3 + 255 + 2]byte
	if _, err := io.ReadFull(from, rest[:3]); err != nil {
		return unexpected(err)
	}
	size := 2 // the port
	switch kind := rest[1]; kind {
	case socksIPv4:
		size += 4 - 1 // a byte of it has been read
	case socksIPv6:
		size += 16 - 1
	case socksName:
		size += int(rest[2])
	default:
		return refused(reasonProxyError, "the answer has an address of kind %d, which is not known", kind)
	}
	_, err := io.ReadFull(from, rest[3:3+size])
	return unexpected(err)
}

// unexpected is the end of a stream within an answer.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// socksRefusal is what a proxy says in place of a connection (RFC 1928, section 6).
func socksRefusal(code byte) error {
	switch code {
	case 1:
		return refused(reasonProxyGateway, "general failure of the proxy; its log may tell more")
	case 2:
		return refused(reasonProxyRefused, "the rules of the proxy are against it")
	case 3:
		return refused(reasonProxyGateway, "the proxy finds the target's network unreachable")
	case 4:
		return refused(reasonProxyGateway, "the proxy finds the target unreachable, or does not know its name")
	case 5:
		return refused(reasonProxyGateway, "the target refuses the proxy's connection")
	case 6:
		return refused(reasonProxyGateway, "the target does not answer the proxy")
	case 7:
		return refused(reasonProxyRefused, "the proxy does not do CONNECT")
	case 8:
		return refused(reasonProxyRefused, "the proxy does not do this kind of address")
	}
	return refused(reasonProxyError, "the answer has code %d, which is not known", code)
}
