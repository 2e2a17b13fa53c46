package starttls

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
)

// packet is a packet of MySQL's with its number.
func packet(number byte, payload string) string {
	n := len(payload)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), number}) + payload
}

// mysqlTarget is the greeting of a target with capabilities.
func mysqlTarget(capabilities uint64) mysqlGreeting {
	g := mysqlGreeting{version: "8.0.1", connection: 7, capabilities: capabilities, charset: 255, status: 2, plugin: "caching_sha2_password"}
	copy(g.scramble[:], "abcdefghijklmnopqrst")
	return g
}

// answer is a client's response to a greeting, or the SSLRequest at its front.
func answer(capabilities uint32, rest string) string {
	p := binary.LittleEndian.AppendUint32(nil, capabilities)
	p = binary.LittleEndian.AppendUint32(p, mysqlPacketLength)
	p = append(p, mysqlUTF8)
	return string(append(p, make([]byte, 23)...)) + rest
}

const (
	mysqlCan = mysqlLongPassword | mysqlProtocol41 | mysqlSecureAuth | mysqlPluginAuth | mysqlWithDatabase | mysqlAttributes
	who      = "alice\x00\x03abcshop\x00mysql_native_password\x00\x04attr"

	switchRequest = "\xfecaching_sha2_password\x00abcdefghijklmnopqrst\x00"
	accepted      = "\x00\x00\x00\x02\x00\x00\x00"
)

func TestMySQLServesNobodyWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []talk{
		{name: "SSLRequest", hears: packet(1, answer(mysqlCan|mysqlTLS, ""))},
		{name: "what is slipped in behind is TLS's to judge", hears: packet(1, answer(mysqlCan|mysqlTLS, "")) + "more", left: "more"},
		{name: "no TLS", hears: packet(1, answer(mysqlCan, who)), reason: reasonRequired},
		{name: "who it is, before TLS", hears: packet(1, answer(mysqlCan|mysqlTLS, who)), reason: reasonMalformed},
		{name: "version 4.0 of the protocol", hears: packet(1, "\x00\x08\x00\x00\x00"), reason: reasonMalformed},
		{name: "a wrong number", hears: packet(2, answer(mysqlCan|mysqlTLS, "")), left: answer(mysqlCan|mysqlTLS, ""), reason: reasonMalformed},
		{name: "a packet of 16 MiB", hears: "\xff\xff\xff\x01", reason: reasonMalformed},
		{name: "an empty packet", hears: packet(1, ""), reason: reasonMalformed},
		{name: "nothing", eof: true, err: io.EOF},
		{name: "half a packet", hears: packet(1, answer(mysqlCan, ""))[:9], eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := &scripted{Reader: bytes.NewReader([]byte(test.hears))}
			wantReason(t, newMySQL().Server().Upgrade(client), test.reason, test.err)
			said := mysqlStream{conn: &scripted{Reader: bytes.NewReader(client.said.Bytes())}}
			payload, err := said.read(mysqlGreetingLength)
			if err != nil {
				t.Fatal(err)
			}
			greeting, err := parseMySQLGreeting(payload)
			if err != nil || greeting.capabilities&mysqlTLS == 0 || greeting.connection != 0 {
				t.Errorf("greeted with %+v, %v", greeting, err)
			}
			if said.next = 2; test.name == "a wrong number" {
				said.next = 3
			}
			last, err := said.read(mysqlMessageLength)
			if test.reason != "" && (err != nil || last[0] != mysqlErr) || test.reason == "" && err == nil {
				t.Errorf("told %q, %v", last, err)
			}
			if rest, err := io.ReadAll(client); err != nil || string(rest) != test.left {
				t.Errorf("%q is left, want %q, %v", rest, test.left, err)
			}
		})
	}
}

// TestMySQLGreetsInTheMannerOfTheTarget has a second client come.
func TestMySQLGreetsInTheMannerOfTheTarget(t *testing.T) {
	t.Parallel()
	protocol := newMySQL()
	target := mysqlTarget(mysqlCommon&^mysqlLongPassword | 1<<24 | 4<<32) // a MariaDB's
	scrambles := map[[mysqlScrambleLength]byte]bool{target.scramble: true}
	for n, version := range []string{"5.7.0-sallyport", "8.0.1"} {
		session := protocol.Server()
		request := answer(mysqlCan|mysqlTLS, "")
		client := &scripted{Reader: bytes.NewReader([]byte(packet(1, request)))}
		if err := session.Upgrade(client); err != nil {
			t.Fatal(err)
		}
		greeting, err := parseMySQLGreeting(client.said.Bytes()[4:])
		if err != nil {
			t.Fatal(err)
		}
		if greeting.version != version || greeting.connection != 0 || scrambles[greeting.scramble] {
			t.Errorf("client %d is greeted with %+v", n, greeting)
		}
		if want := target.capabilities | mysqlTLS; n > 0 && greeting.capabilities != want {
			t.Errorf("client %d is offered %#x, want %#x", n, greeting.capabilities, want)
		}
		scrambles[greeting.scramble] = true
		got := meet(t, packet(2, answer(mysqlCan|mysqlTLS, who)), packet(0, string(target.marshal()))+packet(2, accepted), session.Join)
		if got.err != nil || got.toClient != packet(3, accepted) {
			t.Errorf("%v, the client got %q", got.err, got.toClient)
		}
	}
}

func TestMySQLClientInTLSIsTakenToATargetInPlaintext(t *testing.T) {
	t.Parallel()
	greeted := mysqlTarget(mysqlCommon)
	old := mysqlTarget(mysqlCommon &^ mysqlAttributes)
	told := func(number byte) string { // the target is
		return packet(number, answer(mysqlCan, "alice\x00\x00shop\x00"+switchPlugin+"\x00\x04attr"))
	}
	for _, test := range []struct {
		name               string
		client, target     string
		toClient, toTarget string
		left               string // of the client's
		reason             string
	}{
		{
			name:   "a proof for the target's scramble",
			client: packet(2, answer(mysqlCan|mysqlTLS, who)) + packet(4, "proof") + packet(0, "\x03select"),
			target: packet(0, string(greeted.marshal())) + packet(2, switchRequest) + packet(4, accepted),
			// and what comes then flows by itself
			toClient: packet(3, switchRequest) + packet(5, accepted), toTarget: told(1) + packet(3, "proof"), left: packet(0, "\x03select"),
		},
		{
			name:     "a password that the target knows",
			client:   packet(2, answer(mysqlCan|mysqlTLS, who)) + packet(4, "proof"),
			target:   packet(0, string(greeted.marshal())) + packet(2, switchRequest) + packet(4, "\x01\x03") + packet(5, accepted),
			toClient: packet(3, switchRequest) + packet(5, "\x01\x03") + packet(6, accepted), toTarget: told(1) + packet(3, "proof"),
		},
		{
			name:     "several rounds",
			client:   packet(2, answer(mysqlCan|mysqlTLS, who)) + packet(4, "proof") + packet(6, "more"),
			target:   packet(0, string(greeted.marshal())) + packet(2, switchRequest) + packet(4, "\x01\x04") + packet(6, accepted),
			toClient: packet(3, switchRequest) + packet(5, "\x01\x04") + packet(7, accepted), toTarget: told(1) + packet(3, "proof") + packet(5, "more"),
		},
		{
			name:     "a denial",
			client:   packet(2, answer(mysqlCan|mysqlTLS, who)),
			target:   packet(0, string(greeted.marshal())) + packet(2, "\xff\x15\x04#28000no"),
			toClient: packet(3, "\xff\x15\x04#28000no"), toTarget: told(1),
		},
		{
			name:     "what was not offered is not asked for",
			client:   packet(2, answer(mysqlCan|mysqlTLS|1<<24|1<<30, who)),
			target:   packet(0, string(greeted.marshal())) + packet(2, accepted),
			toClient: packet(3, accepted), toTarget: told(1),
		},
		{name: "too many connections", client: packet(2, answer(mysqlCan|mysqlTLS, who)), target: packet(0, "\xff\x10\x04Too many connections"), toClient: "\xff", reason: reasonTarget},
		{name: "a target that can do less", client: packet(2, answer(mysqlCan|mysqlTLS, who)), target: packet(0, string(old.marshal())), toClient: "\xff", reason: reasonTarget},
		{name: "another protocol", client: packet(2, answer(mysqlCan|mysqlTLS, who)), target: "220 mail ESMTP\r\n", toClient: "\xff", reason: reasonMalformed},
		{name: "no plugins", client: packet(2, answer(mysqlCan&^mysqlPluginAuth|mysqlTLS, "alice\x00\x00")), toClient: "\xff\xe3\x04", reason: reasonMalformed},
		{name: "no user", client: packet(2, answer(mysqlCan|mysqlTLS, "alice")), toClient: "\xff\x13\x04", reason: reasonMalformed},
		{name: "a proof that is cut short", client: packet(2, answer(mysqlCan|mysqlTLS, "alice\x00\x09abc")), toClient: "\xff\x13\x04", reason: reasonMalformed},
		{
			name: "no end", client: packet(2, answer(mysqlCan|mysqlTLS, who)) + rounds(4, "x"), target: packet(0, string(greeted.marshal())) + rounds(2, "\x01x"),
			toTarget: told(1), reason: reasonMalformed,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			session := newMySQL().Server()
			if err := session.Upgrade(&scripted{Reader: bytes.NewReader([]byte(packet(1, answer(mysqlCan|mysqlTLS, ""))))}); err != nil {
				t.Fatal(err)
			}
			got := meet(t, test.client, test.target, session.Join)
			wantReason(t, got.err, test.reason, nil)
			if test.reason != "" {
				if len(got.toClient) < 4 || !strings.HasPrefix(got.toClient[4:], test.toClient) || !strings.HasPrefix(got.toTarget, test.toTarget) {
					t.Errorf("the client got %q, want %q; the target %q", got.toClient, test.toClient, got.toTarget)
				}
				return
			}
			if got.toClient != test.toClient || got.toTarget != test.toTarget || got.clientLeft != test.left {
				t.Errorf("the client got %q, want %q; the target %q, want %q; %q is left, want %q",
					got.toClient, test.toClient, got.toTarget, test.toTarget, got.clientLeft, test.left)
			}
		})
	}
}

// rounds is a message again and again, with every other number from the first.
func rounds(first byte, payload string) string {
	var all strings.Builder
	for n := range byte(mysqlRounds + 1) {
		all.WriteString(packet(first+2*n, payload))
	}
	return all.String()
}

func TestMySQLClientInPlaintextIsTakenToATargetInTLS(t *testing.T) {
	t.Parallel()
	secure, insecure := mysqlTarget(mysqlCommon|mysqlTLS), mysqlTarget(mysqlCommon)
	for _, test := range []struct {
		name               string
		client, target     string
		toClient, toTarget string
		reason             string
	}{
		{
			name: "a request with what the client can", client: packet(1, answer(mysqlCan, who)), target: packet(0, string(secure.marshal())),
			toClient: packet(0, string(insecure.marshal())), toTarget: packet(1, answer(mysqlCan|mysqlTLS, "")),
		},
		{name: "no TLS", target: packet(0, string(insecure.marshal())), toClient: "\xff\x57\x0c", reason: reasonRefused},
		{name: "turned away", target: packet(0, "\xff\x69\x04Host is blocked"), toClient: "\xff", reason: reasonTarget},
		{name: "a client that wants TLS", client: packet(1, answer(mysqlCan|mysqlTLS, "")), target: packet(0, string(secure.marshal())), toClient: "\n", reason: reasonMalformed},
		{name: "another protocol", client: packet(1, "QUIT"), target: packet(0, string(secure.marshal())), toClient: "\n", reason: reasonMalformed},
		{name: "a client without a user", client: packet(1, answer(mysqlCan, "alice")), target: packet(0, string(secure.marshal())), toClient: "\n", reason: reasonMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			session := newMySQL().Client()
			got := meet(t, test.client, test.target, session.Upgrade)
			wantReason(t, got.err, test.reason, nil)
			if test.reason != "" {
				if got.toTarget != "" || !strings.HasPrefix(got.toClient[4:], test.toClient) {
					t.Errorf("the client got %q, the target %q", got.toClient, got.toTarget)
				}
				return
			}
			if got.toClient != test.toClient || got.toTarget != test.toTarget {
				t.Errorf("the client got %q, want %q; the target %q, want %q", got.toClient, test.toClient, got.toTarget, test.toTarget)
			}
			got = meet(t, packet(3, "proof"), packet(3, switchRequest)+packet(5, accepted), session.Join)
			if got.err != nil || got.toClient != packet(2, switchRequest)+packet(4, accepted) ||
				got.toTarget != packet(2, answer(mysqlCan|mysqlTLS, who))+packet(4, "proof") {
				t.Errorf("%v; the client got %q, the target %q", got.err, got.toClient, got.toTarget)
			}
		})
	}
}

// TestMySQLTargetThatKnowsThePasswordIsNotAnswered has a client prove its
// password with the plugin that the greeting names, so that no switch to it comes.
func TestMySQLTargetThatKnowsThePasswordIsNotAnswered(t *testing.T) {
	t.Parallel()
	secure := mysqlTarget(mysqlCommon | mysqlTLS)
	session := newMySQL().Client()
	who := "alice\x00\x03abcshop\x00caching_sha2_password\x00\x04attr"
	if got := meet(t, packet(1, answer(mysqlCan, who)), packet(0, string(secure.marshal())), session.Upgrade); got.err != nil {
		t.Fatal(got.err)
	}
	got := meet(t, packet(0, "\x03select"), packet(3, "\x01\x03")+packet(4, accepted), session.Join)
	if got.err != nil || got.toClient != packet(2, "\x01\x03")+packet(3, accepted) || got.clientLeft != packet(0, "\x03select") {
		t.Errorf("%v; the client got %q, %q of it is left", got.err, got.toClient, got.clientLeft)
	}
}

func TestMySQLProbeAsksForTLS(t *testing.T) {
	t.Parallel()
	secure, insecure := mysqlTarget(mysqlCommon|mysqlTLS), mysqlTarget(mysqlCommon)
	short := mysqlTarget(mysqlCommon | mysqlTLS)
	for _, test := range []talk{
		{name: "yes", hears: packet(0, string(secure.marshal())), says: packet(1, answer(mysqlLongPassword|mysqlProtocol41|mysqlTLS|mysqlSecureAuth|mysqlPluginAuth, ""))},
		{name: "no", hears: packet(0, string(insecure.marshal())), reason: reasonRefused},
		{name: "turned away", hears: packet(0, "\xff\x10\x04Too many connections"), reason: reasonTarget},
		{name: "a greeting that is cut short", hears: packet(0, string(short.marshal())[:40]), reason: reasonMalformed},
		{name: "a greeting that is too long", hears: "\x01\x04\x00\x00", reason: reasonMalformed},
		{name: "version 9 of the protocol", hears: packet(0, "\x093.20\x00"), reason: reasonMalformed},
		{name: "nothing", eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, probe(t, "mysql"))
		})
	}
}

// FuzzMySQLGreeting looks that a greeting is passed on as it was meant.
func FuzzMySQLGreeting(f *testing.F) {
	for _, capabilities := range []uint64{mysqlCommon, mysqlCommon | mysqlTLS, mysqlCommon&^mysqlLongPassword | 0x1d<<32} {
		g := mysqlTarget(capabilities)
		f.Add(g.marshal())
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		g, err := parseMySQLGreeting(payload)
		if err != nil {
			return
		}
		again, err := parseMySQLGreeting(g.marshal())
		if err != nil || *again != *g {
			t.Errorf("%+v became %+v, %v", g, again, err)
		}
	})
}

// FuzzMySQLResponse looks that a target is told nothing else of a client than the
// client has said.
func FuzzMySQLResponse(f *testing.F) {
	f.Add([]byte(answer(mysqlCan|mysqlTLS, who)))
	f.Add([]byte(answer(mysqlCan|mysqlLengthEncoding, "alice\x00\xfc\x03\x00abcshop\x00plugin\x00")))
	f.Add([]byte(answer(mysqlCan|mysqlLengthEncoding, "alice\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xffabc")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := parseMySQLResponse(payload)
		if err != nil || r.capabilities&mysqlPluginAuth == 0 {
			return
		}
		offered := mysqlTarget(mysqlCommon)
		r.limit(&offered)
		if !r.fits(&offered) || r.capabilities&mysqlTLS != 0 {
			t.Errorf("capabilities %#x go beyond %#x", r.capabilities, offered.capabilities)
		}
		again, err := parseMySQLResponse(r.marshalSwitch())
		if r.capabilities&mysqlProtocol41 == 0 || r.capabilities&mysqlPluginAuth == 0 {
			return
		}
		if err != nil || !bytes.Equal(again.user, r.user) || !bytes.Equal(again.database, r.database) && r.capabilities&mysqlWithDatabase != 0 ||
			!bytes.Equal(again.rest, r.rest) || again.capabilities != r.capabilities {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

// FuzzMySQLAuthenticate has both sides say anything.
func FuzzMySQLAuthenticate(f *testing.F) {
	f.Add([]byte(packet(1, "proof")), []byte(packet(0, switchRequest)+packet(2, accepted)))
	f.Add([]byte(""), []byte(packet(0, "")))
	f.Fuzz(func(t *testing.T, client, target []byte) {
		got := meet(t, string(client), string(target), func(c, s net.Conn) error {
			return mysqlAuthenticate(&mysqlStream{conn: c}, &mysqlStream{conn: s}, cachingPlugin)
		})
		if len(got.toClient) > len(target) || len(got.toTarget) > len(client) {
			t.Errorf("%q and %q became %q and %q", client, target, got.toTarget, got.toClient)
		}
	})
}

func TestMySQLCheckIsDeniedRatherThanCountedAsAnError(t *testing.T) {
	t.Parallel()
	greeting := mysqlTarget(mysqlCommon)
	const denied = "\xff\x15\x04#28000Access denied"
	for _, test := range []struct {
		name      string
		encrypted bool
		target    string
		proof     string // what nobody proves, with its number
		reason    string
	}{
		{name: "plain", target: packet(0, string(greeting.marshal())) + packet(2, "\xfemysql_native_password\x00") + packet(4, denied), proof: packet(3, strings.Repeat("\x00", 20))},
		{name: "in TLS", encrypted: true, target: packet(3, "\xfeclient_ed25519\x00") + packet(5, denied), proof: packet(4, strings.Repeat("\x00", 64))},
		{name: "at once", encrypted: true, target: packet(3, denied)},
		{name: "turned away", target: packet(0, "\xff\x69\x04Host is blocked"), reason: reasonTarget},
		{name: "an empty packet", encrypted: true, target: packet(3, ""), reason: reasonMalformed},
		{name: "no end", encrypted: true, target: rounds(3, "\x01x")[:mysqlRounds*len(packet(3, "\x01x"))], reason: reasonMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target := &scripted{Reader: bytes.NewReader([]byte(test.target))}
			wantReason(t, newMySQL().Leave(test.encrypted)(target), test.reason, nil)
			if said := target.said.String(); !strings.HasSuffix(said, test.proof) || test.reason == "" && !strings.Contains(said, mysqlNobody) {
				t.Errorf("said %q, want %q at its end", said, test.proof)
			}
			if target.Len() > 0 {
				t.Errorf("%d bytes were not read", target.Len())
			}
		})
	}
	if newSMTP().Leave(true) != nil {
		t.Error("SMTP has something to say at the end of a check")
	}
}

// TestMySQLGreetingsThatAreNone: from a server that could not be kept apart from its clients by TLS, or not from a server.
func TestMySQLGreetingsThatAreNone(t *testing.T) {
	t.Parallel()
	good := mysqlTarget(mysqlCommon)
	whole := string(good.marshal())
	for name, payload := range map[string]string{
		"nothing":                    "",
		"a version without an end":   whole[:4],
		"no fixed part":              whole[:len("\x0a8.0.1\x00")+10],
		"no second part":             whole[:len("\x0a8.0.1\x00")+32],
		"no version 4.1":             string(greetingWithout(mysqlProtocol41)),
		"no plugins":                 string(greetingWithout(mysqlPluginAuth)),
		"no proofs with a scramble":  string(greetingWithout(mysqlSecureAuth)),
		"a scramble that is longer":  whole[:len("\x0a8.0.1\x00")+20] + "\x40" + whole[len("\x0a8.0.1\x00")+21:],
		"another protocol's version": "\x09" + whole[1:],
	} {
		if g, err := parseMySQLGreeting([]byte(payload)); err == nil {
			t.Errorf("%s: %+v", name, g)
		} else {
			wantReason(t, err, reasonMalformed, nil)
		}
	}
	if _, err := parseMySQLGreeting([]byte(whole)); err != nil {
		t.Error(err)
	}
}

func greetingWithout(capability uint64) []byte {
	g := mysqlTarget(mysqlCommon &^ capability)
	return g.marshal()
}

// TestMySQLResponsesInTheirEncodings: a proof may have its length before it in several ways, or a zero behind it.
func TestMySQLResponsesInTheirEncodings(t *testing.T) {
	t.Parallel()
	const encoded, plain = mysqlCan | mysqlLengthEncoding, mysqlCan &^ mysqlSecureAuth
	for _, test := range []struct {
		name         string
		capabilities uint32
		proof        string
		good         bool
	}{
		{"one byte of length", mysqlCan, "\x03abc", true},
		{"one byte, encoded", encoded, "\x03abc", true},
		{"two bytes", encoded, "\xfc\x03\x00abc", true},
		{"three bytes", encoded, "\xfd\x03\x00\x00abc", true},
		{"eight bytes", encoded, "\xfe\x03\x00\x00\x00\x00\x00\x00\x00abc", true},
		{"a zero behind", plain, "abc\x00", true},
		{"nothing", encoded, "", false},
		{"a NULL", encoded, "\xfb", false},
		{"a length that is none", encoded, "\xff", false},
		{"half a length", encoded, "\xfd\x03", false},
		{"a length that is a lie", encoded, "\xfe\xff\xff\xff\xff\xff\xff\xff\xffabc", false},
		{"no zero behind", plain, "abc", false},
	} {
		behind := ""
		if test.good {
			behind = "shop\x00plugin\x00attr"
		}
		r, err := parseMySQLResponse([]byte(answer(test.capabilities, "alice\x00"+test.proof+behind)))
		if !test.good {
			if err == nil {
				t.Errorf("%s: %+v", test.name, r)
			}
			continue
		}
		if err != nil || string(r.user) != "alice" || string(r.database) != "shop" || r.plugin != "plugin" || string(r.rest) != "attr" {
			t.Errorf("%s: %+v, %v", test.name, r, err)
		}
	}
}

// TestMySQLClientIsHeldToWhatItWasOffered, MariaDB's own capabilities included.
func TestMySQLClientIsHeldToWhatItWasOffered(t *testing.T) {
	t.Parallel()
	mariaDB := answer(mysqlCan&^mysqlLongPassword|mysqlZstd, who)
	mariaDB = mariaDB[:28] + "\x1d\x00\x00\x00" + mariaDB[32:]
	r, err := parseMySQLResponse([]byte(mariaDB))
	if err != nil || r.capabilities>>32 != 0x1d || string(r.rest) != "\x04attr" {
		t.Fatalf("%+v, %v", r, err)
	}
	offered := mysqlTarget(mysqlCommon&^mysqlLongPassword&^mysqlAttributes | 0x11<<32)
	r.limit(&offered)
	if want := uint64(mysqlCan)&^mysqlLongPassword&^mysqlAttributes | 0x11<<32; r.capabilities != want || r.rest != nil {
		t.Errorf("capabilities %#x, want %#x; %q behind", r.capabilities, want, r.rest)
	}
}
