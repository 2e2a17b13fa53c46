package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"sallyport/proxy/header"
)

// The stages in which a connection can fail before anything was forwarded, as Observer.Failed gets them.
const (
	stageAccept    = "accept"
	stageLimit     = "limit"   // it was accepted, and is one too many
	stageHeader    = "header"  // the PROXY header that it was to begin with
	stageUpgrade   = "upgrade" // what is said before TLS, or once it began
	stageHandshake = "handshake"
	stageDial      = "dial"
	stageAnnounce  = "announce" // the PROXY header to the target
)

// Why connections end. Reasons that come with an error (see reasonOf) are the business of whoever made the error: no_certificate,
// unknown_ca, not_allowed and the like.
const (
	// Ends of forwarded connections.
	reasonEOF           = "eof"             // both directions ended
	reasonNoCloseNotify = "no_close_notify" // both ended, one of them a TLS stream without close_notify
	reasonIdleTimeout   = "idle_timeout"    // Server.IdleTimeout
	reasonLifetime      = "lifetime"        // Server.MaxLifetime
	reasonCloseTimeout  = "close_timeout"   // Server.CloseTimeout
	reasonStalled       = "client_stalled"  // Client.BoundWrites
	reasonShutdown      = "shutdown"        // Shutdown ran out of time, or found a handshake or dial in progress

	// End of a connection that came for its handshake alone; it is neither forwarded nor a failure.
	reasonChallenge = "acme_challenge"

	// With client_ or target_ before them; bad_tls_message and error too.
	reasonReset     = "reset"     // the peer reset the connection
	reasonClosed    = "closed"    // the peer closed it before it had taken all
	reasonGone      = "gone"      // the system gave the peer up: no answer, no route
	reasonAlert     = "alert"     // the peer ended a TLS session by an alert
	reasonTruncated = "truncated" // a TLS stream ended in the middle of a record

	// Failures.
	reasonTimeout       = "timeout"                  // HandshakeTimeout or DialTimeout
	reasonCrowded       = "too_many_from_source"     // Server.MaxConnsPerIP
	reasonNoHeader      = "proxy_header_not_allowed" // a PROXY header came from somebody who may send none
	reasonAnnounce      = "announce_failed"          // the target could not be told who connects
	reasonClientAbort   = "client_abort"             // the client went away without a byte: a port probe
	reasonLost          = "connection_lost"          // the peer went away in the middle of a handshake
	reasonNotTLS        = "not_tls"                  // what came is not TLS
	reasonNoCertificate = "no_certificate"           // the peer sent no certificate
	reasonSignature     = "bad_signature"            // the peer does not hold the key of its certificate
	reasonOversized     = "oversized_record"         // the peer sent a TLS record longer than there may be
	reasonVersion       = "protocol_version"         // no TLS version in common
	reasonCipher        = "no_shared_cipher"         // no cipher suite in common
	reasonALPN          = "no_shared_protocol"       // no application protocol in common (RFC 7301)
	reasonUnrecognized  = "unrecognized_name"        // no Route for the server name
	reasonPeerAlert     = "peer_alert"               // the peer refused the handshake
	reasonRefused       = "connection_refused"       // nobody listens there
	reasonUnreachable   = "unreachable"              // no way to the target from here
	reasonNoSocket      = "no_such_socket"           // the UNIX socket does not exist
	reasonName          = "name_resolution"          // the target's name does not resolve
	reasonDescriptors   = "too_many_files"           // out of descriptors
	reasonOther         = "error"                    // none of these; the log line has the error
	reasonPermission    = "permission_denied"        // the system does not let us connect
	reasonBadTLSMessage = "bad_tls_message"          // the peer broke the TLS protocol
)

// failures are the reasons for which each stage fails, but for those that come with errors of others. TestReasonsAreListed
// keeps them complete.
var failures = map[string][]string{
	stageAccept: {reasonDescriptors, reasonOther},
	stageLimit:  {reasonCrowded},
	stageHeader: {header.ReasonMissing, header.ReasonInvalid, reasonTimeout, reasonShutdown, reasonClientAbort, reasonLost},
	stageUpgrade: {
		reasonTimeout, reasonShutdown, reasonClientAbort, reasonLost, reasonUnreachable, reasonNoHeader, reasonPeerAlert,
		reasonBadTLSMessage, reasonOther,
	},
	stageHandshake: {
		reasonTimeout, reasonShutdown, reasonClientAbort, reasonLost, reasonUnreachable, reasonNotTLS, reasonNoHeader,
		reasonNoCertificate, reasonSignature, reasonOversized, reasonVersion, reasonCipher, reasonALPN, reasonUnrecognized, reasonPeerAlert,
		reasonBadTLSMessage, reasonOther,
	},
	stageDial: {
		reasonTimeout, reasonShutdown, reasonRefused, reasonUnreachable, reasonReset, reasonNoSocket, reasonName,
		reasonDescriptors, reasonPermission, reasonOther,
	},
	stageAnnounce: {reasonAnnounce, reasonTimeout, reasonShutdown},
}

// sidedEnds are the reasons for which a forwarded connection ends by the doing of one side, which goes before them.
var sidedEnds = []string{
	reasonReset, reasonClosed, reasonGone, reasonAlert, reasonTruncated, reasonBadTLSMessage, reasonOther,
}

// Failures returns the reasons that Observer.Failed can be told, by the stage. An error with a method Reason can add others.
func Failures() map[string][]string {
	all := make(map[string][]string, len(failures))
	for stage, reasons := range failures {
		all[stage] = slices.Clone(reasons)
	}
	return all
}

// Ends returns the reasons that Observer.Closed can be told, sorted, those of failures included. An error with a method Reason
// can add others.
func Ends() []string {
	all := []string{
		reasonEOF, reasonNoCloseNotify, reasonIdleTimeout, reasonLifetime, reasonCloseTimeout, reasonStalled, reasonShutdown, reasonChallenge,
	}
	for _, reason := range sidedEnds {
		all = append(all, "client_"+reason, "target_"+reason)
	}
	for stage, reasons := range failures {
		if stage != stageAccept { // where there is no connection yet
			all = append(all, reasons...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// errnoReasons are the reasons for errors of the system.
var errnoReasons = map[syscall.Errno]string{
	syscall.ECONNREFUSED:  reasonRefused,
	syscall.ENETUNREACH:   reasonUnreachable,
	syscall.EHOSTUNREACH:  reasonUnreachable,
	syscall.EADDRNOTAVAIL: reasonUnreachable,
	syscall.ENOENT:        reasonNoSocket,
	syscall.EMFILE:        reasonDescriptors,
	syscall.ENFILE:        reasonDescriptors,
	syscall.EACCES:        reasonPermission,
	syscall.EPERM:         reasonPermission,
	syscall.ECONNRESET:    reasonReset,
	syscall.EPIPE:         reasonReset,
}

// handshakeTexts tells apart errors for which crypto/tls has neither type nor value. TestReasonsOfHandshakes makes each of
// them happen, so that a Go release that words them differently fails there.
var handshakeTexts = []struct{ text, reason string }{
	{"didn't provide a certificate", reasonNoCertificate},
	{"received empty certificates message", reasonNoCertificate},                      // of a server, in TLS 1.3
	{"*tls.certificateMsg when waiting for *tls.certificateMsg", reasonNoCertificate}, // the same in TLS 1.2: it has none in it
	{"invalid signature by the", reasonSignature},
	{"unsupported versions", reasonVersion},
	{"unsupported protocol version", reasonVersion},
	{"no cipher suite supported by both", reasonCipher},
	{"client requested unsupported application protocols", reasonALPN},
	{"server selected unadvertised ALPN protocol", reasonALPN},
	{"bad record MAC", reasonBadTLSMessage},
	{"oversized record", reasonOversized},
	{"unexpected message", reasonBadTLSMessage},
	{"received unexpected handshake message", reasonBadTLSMessage},
	{"error decoding message", reasonBadTLSMessage},
}

// alertTexts are the ends of alerts that say as much as we could find out ourselves.
var alertTexts = []struct{ text, reason string }{
	{"no application protocol", reasonALPN},
	{"protocol version not supported", reasonVersion},
}

// reasoned is an error with a name of its own, such as the verdict on a peer.
type reasoned interface {
	error
	Reason() string
}

// Reason gives the stable name of an error of dialling, as Observer.Failed is told it.
func Reason(err error) string { return reasonOf(err) }

// reasonOf gives the stable name of an error. An error may bring its own, by a method Reason.
func reasonOf(err error) string {
	if named, ok := errors.AsType[reasoned](err); ok {
		return named.Reason()
	}
	if errors.Is(err, ErrServerClosed) {
		return reasonShutdown
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout() {
		return reasonTimeout
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		switch {
		case header.StartsRecord(record.RecordHeader):
			return reasonNoHeader
		case strings.HasPrefix(record.Msg, "oversized record"):
			return reasonOversized
		}
		return reasonNotTLS
	}
	if errors.As(err, new(*net.DNSError)) {
		return reasonName
	}
	if errors.As(err, new(*upgradeError)) && errors.Is(err, io.EOF) {
		return reasonClientAbort // whoever ends the stream in the middle of a message makes it io.ErrUnexpectedEOF
	}
	var handshake *handshakeError
	inHandshake := errors.As(err, &handshake)
	var errno syscall.Errno
	gone := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &errno) && errnoReasons[errno] == reasonReset
	switch {
	case gone && inHandshake && handshake.silent && !handshake.target:
		return reasonClientAbort
	case gone && (inHandshake || errors.As(err, new(*upgradeError))):
		return reasonLost
	}
	if reason, ok := errnoReasons[errno]; ok {
		return reason
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" { // how crypto/tls reports the peer's alert
		for _, known := range alertTexts {
			if strings.HasSuffix(op.Err.Error(), known.text) {
				return known.reason
			}
		}
		return reasonPeerAlert
	}
	text := err.Error()
	for _, known := range handshakeTexts {
		if strings.Contains(text, known.text) {
			return known.reason
		}
	}
	return reasonOther
}

// stageOf tells in which stage a connection failed before it was forwarded: the target's TLS handshake is a stage of its own,
// and so is what it is told.
func stageOf(err error) string {
	switch {
	case errors.As(err, new(*announceError)):
		return stageAnnounce
	case errors.As(err, new(*upgradeError)):
		return stageUpgrade
	case errors.As(err, new(*handshakeError)):
		return stageHandshake
	}
	return stageDial
}
