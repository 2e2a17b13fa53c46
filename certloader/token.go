//go:build cgo

package certloader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// openModule loads a PKCS#11 library.
//
// It is never finalized or unloaded. It is there once for the whole process, so
// another Provider may be using it, and what becomes of its calls then is
// undefined (PKCS#11 2.40, C_Finalize); and some libraries have threads of their
// own, which would not survive it.
func openModule(path string) (*pkcs11.Ctx, error) {
	if module := pkcs11.New(path); module != nil {
		return module, nil
	}
	// It does not say why. What is no path is looked for by the dynamic linker.
	if strings.ContainsRune(path, os.PathSeparator) {
		if _, err := os.Stat(path); err != nil {
			return nil, inFile("--pkcs11-module", path, err)
		}
	}
	return nil, fmt.Errorf("--pkcs11-module %s: not a PKCS#11 library that can be loaded; ldd tells if it needs another that is missing", path)
}

// token is a PKCS#11 token, which is logged in to when it is first used, and
// again when that has been lost. It is safe for concurrent use.
type token struct {
	module           *pkcs11.Ctx
	path, label, pin string // the module's path; label may be empty

	mu       sync.RWMutex // held to use login, and exclusively to replace it
	login    *login       // nil: not logged in
	attempts int          // how often it has been tried
	err      error        // what the latest attempt came to

	pinMu   sync.Mutex // held to use the PIN
	refused error      // not nil once the token has refused the PIN
}

// login is one time of being logged in to a token, which lasts as long as there
// is a session with it.
type login struct {
	slot     uint
	idle     chan pkcs11.SessionHandle // open, and used by nobody
	unopened chan struct{}             // one for each session that may yet be opened
}

// maxSessions is how many signatures a token is asked for at a time. A session
// can make one.
const maxSessions = 16

// do has f use a session. If the token turns out to be lost, it is logged in to
// again, and f called once more.
func (t *token) do(f func(*login, pkcs11.SessionHandle) error) error {
	attempts, err := t.try(f)
	if !tokenLost(err) {
		return err
	}
	if err := t.connect(attempts, err); err != nil {
		return err
	}
	_, err = t.try(f)
	return err
}

// try is do without the second chance. It returns how many attempts to log in
// had been made, too.
func (t *token) try(f func(*login, pkcs11.SessionHandle) error) (attempts int, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.login == nil {
		return t.attempts, errNoLogin
	}
	session, err := t.take()
	if err != nil {
		return t.attempts, err
	}
	defer func() { t.login.idle <- session }()
	return t.attempts, f(t.login, session)
}

// take waits for a session. Open ones go before new ones.
func (t *token) take() (pkcs11.SessionHandle, error) {
	for {
		select {
		case session := <-t.login.idle:
			return session, nil
		default:
		}
		select {
		case session := <-t.login.idle:
			return session, nil
		case <-t.login.unopened:
		}
		session, err := t.module.OpenSession(t.login.slot, pkcs11.CKF_SERIAL_SESSION)
		switch {
		case err == nil:
			return session, nil
		case hasCode(err, pkcs11.CKR_SESSION_COUNT):
			continue // that one cannot be had; one of those that are open will become idle
		}
		t.login.unopened <- struct{}{}
		return 0, t.failed("opening a session", err)
	}
}

// connect logs in anew, unless that has been tried since the caller saw that
// many attempts: then it returns what came of it. So those who find the token
// lost at the same time make one attempt together. The cause is how the caller
// found out.
func (t *token) connect(attempts int, cause error) error {
	t.mu.Lock() // waits for those who use the old login
	defer t.mu.Unlock()
	if t.attempts != attempts {
		return t.err
	}
	t.attempts++
	// Where these say so, the sessions have ended with the token. The numbers that
	// they had may be others' sessions by now, and SoftHSM for one crashes when a
	// session is closed that is in use.
	if !hasCode(cause, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT) {
		t.disconnect()
	}
	t.login, t.err = t.open()
	return t.err
}

// close ends all sessions.
func (t *token) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disconnect()
}

func (t *token) disconnect() {
	if t.login == nil {
		return
	}
	for len(t.login.idle) > 0 {
		_ = t.module.CloseSession(<-t.login.idle) // it may be gone already
	}
	t.login = nil
}

// open finds the token and logs in to it.
func (t *token) open() (*login, error) {
	if err := t.module.Initialize(); err != nil && !hasCode(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return nil, fmt.Errorf("--pkcs11-module %s: initializing it: %w", t.path, err)
	}
	slot, flags, err := t.find()
	if err != nil {
		return nil, err
	}
	session, err := t.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, t.failed("opening a session", err)
	}
	switch {
	case t.pin != "":
		err = t.authenticate(session, pkcs11.CKU_USER)
	case flags&pkcs11.CKF_LOGIN_REQUIRED != 0:
		err = fmt.Errorf("--pkcs11-pin: %s needs one", t.name())
	}
	if err != nil {
		_ = t.module.CloseSession(session) // the first error counts
		return nil, err
	}
	opened := &login{
		slot:     slot,
		idle:     make(chan pkcs11.SessionHandle, maxSessions),
		unopened: make(chan struct{}, maxSessions),
	}
	opened.idle <- session
	for range maxSessions - 1 {
		opened.unopened <- struct{}{}
	}
	return opened, nil
}

// find returns the slot that the token is in, and its flags.
func (t *token) find() (slot, flags uint, err error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, 0, fmt.Errorf("--pkcs11-module %s: listing its slots: %w", t.path, err)
	}
	found := 0
	var labels []string
	for _, candidate := range slots {
		info, err := t.module.GetTokenInfo(candidate)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // another's reader may be broken, and another token be blank
		}
		labels = append(labels, strconv.Quote(info.Label))
		if t.label == "" || t.label == info.Label {
			slot, flags = candidate, info.Flags
			found++
		}
	}
	var wrong string
	switch {
	case found == 1:
		return slot, flags, nil
	case len(labels) == 0:
		wrong = "there is no token"
	case found == 0:
		wrong = "no such token; there is " + strings.Join(labels, ", ")
	case t.label == "":
		wrong = "name one of " + strings.Join(labels, ", ")
	default:
		wrong = strconv.Itoa(found) + " tokens with this label; one of them has to go"
	}
	return 0, 0, fmt.Errorf("%s: %s", strings.TrimSpace("--pkcs11-token-label "+t.label), wrong)
}

// authenticate gives the token the PIN, unless it has refused it before.
func (t *token) authenticate(session pkcs11.SessionHandle, user uint) error {
	t.pinMu.Lock()
	defer t.pinMu.Unlock()
	if t.refused != nil {
		return t.refused
	}
	err := t.module.Login(session, user, t.pin)
	switch {
	case err == nil, hasCode(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case hasCode(err, pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE,
		pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED):
		t.refused = fmt.Errorf("--pkcs11-pin: %s refused it, and it is not tried again until a restart: %w", t.name(), err)
		return t.refused
	}
	return t.failed("logging in", err)
}

// name is how messages call the token.
func (t *token) name() string {
	if t.label == "" {
		return "the token"
	}
	return "token " + strconv.Quote(t.label)
}

// failed says what the token failed at.
func (t *token) failed(doing string, err error) error {
	return fmt.Errorf("--pkcs11-module %s: %s: %s: %w", t.path, t.name(), doing, err)
}

// errNoLogin is that nobody has logged in yet, or not with success.
var errNoLogin = errors.New("not logged in")

// errNoTokenKey is that a token shows no private key that fits.
var errNoTokenKey = errors.New("no private key fits")

// tokenLost reports whether err may come of a session, a login, a device or an
// object that is no more, so that to log in again may help. Modules differ in
// what they say then, and have codes of their own.
func tokenLost(err error) bool {
	// A token shows no private keys to those who are logged out.
	if errors.Is(err, errNoLogin) || errors.Is(err, errNoTokenKey) {
		return true
	}
	if code, ok := errors.AsType[pkcs11.Error](err); ok && code >= pkcs11.CKR_VENDOR_DEFINED {
		return true
	}
	return hasCode(err,
		pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_SESSION_HANDLE_INVALID,
		pkcs11.CKR_USER_NOT_LOGGED_IN,
		pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID,
		pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_SLOT_ID_INVALID,
		pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
		pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED,
		pkcs11.CKR_OPERATION_ACTIVE, pkcs11.CKR_OPERATION_NOT_INITIALIZED)
}

// hasCode reports whether err has one of the codes (CKR_…).
func hasCode(err error, codes ...pkcs11.Error) bool {
	code, ok := errors.AsType[pkcs11.Error](err)
	return ok && slices.Contains(codes, code)
}
