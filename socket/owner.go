package socket

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// Owner is who the file of a UNIX socket belongs to, by the numbers that the
// system has for them; -1 leaves what the process gives it.
type Owner struct{ User, Group int }

// LookUpOwner reads USER, USER:GROUP or :GROUP, each a name or a number.
func LookUpOwner(text string) (Owner, error) {
	owner := Owner{-1, -1}
	userText, groupText, _ := strings.Cut(text, ":")
	var err error
	if userText != "" {
		if owner.User, err = numberOf(userText, userID); err != nil {
			return owner, fmt.Errorf("no user %q on this system; write a name or a number", userText)
		}
	}
	if groupText != "" {
		if owner.Group, err = numberOf(groupText, groupID); err != nil {
			return owner, fmt.Errorf("no group %q on this system; write a name or a number", groupText)
		}
	}
	return owner, nil
}

// numberOf is the number that a name has or, failing that, is.
func numberOf(text string, lookup func(string) (string, error)) (int, error) {
	if id, err := lookup(text); err == nil {
		text = id
	}
	id, err := strconv.ParseUint(text, 10, 31)
	return int(id), err
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}
