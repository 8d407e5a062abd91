package console

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// as does something on a thread that is another account's, as far as the kernel is concerned.
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never given back: the thread ends with this goroutine
		const same = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
			done <- errno
			return
		}
		do()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// askAs asks for a link as an account.
func askAs(t *testing.T, uid int, socket string) (person string, err error) {
	t.Helper()
	as(t, uid, func() { _, person, err = Ask(t.Context(), socket) })
	return person, err
}

// TestKernelVouches: whose link it is depends on who connects, and on nothing that they
// say. As root another account asks as well.
func TestKernelVouches(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	accounts := []*user.User{me}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, nobody)
	}
	for _, allowed := range accounts {
		_, socket := served(t, sampleFloor(), map[Role]Accounts{RoleAuditor: {Users: []string{allowed.Username}}})
		if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, asks := range accounts {
			uid, err := strconv.Atoi(asks.Uid)
			if err != nil {
				t.Fatal(err)
			}
			person, err := askAs(t, uid, socket)
			if asks == allowed && (err != nil || person != allowed.Username) || asks != allowed && !errors.Is(err, ErrRefused) {
				t.Errorf("%s asks where %s may: %q, %v", asks.Username, allowed.Username, person, err)
			}
		}
	}
}

// TestTwoAccounts: what two people are needed for is done on the word of two accounts that
// the kernel tells apart; one account alone does not get there, whatever it says.
func TestTwoAccounts(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	uids, names := []int{os.Getuid()}, []string{me.Username}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, err := strconv.Atoi(nobody.Uid)
		if err != nil {
			t.Fatal(err)
		}
		uids, names = append(uids, uid), append(names, nobody.Username)
	}
	c, socket := served(t, sampleFloor(), map[Role]Accounts{RoleSupervisor: {Users: names}})
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &deed{exactly: "x", second: []Role{RoleSupervisor}}
	p, err := c.acts.ask(Person{UID: uint32(uids[0]), ID: names[0], Roles: []Role{RoleSupervisor}}, d.prepare)
	if err != nil {
		t.Fatal(err)
	}
	word := func(uid int, approve bool) (act *ActView, err error) {
		as(t, uid, func() {
			if act, err = SeeAct(t.Context(), socket, p.code); err == nil {
				act, err = Respond(t.Context(), socket, act, approve)
			}
		})
		return act, err
	}
	if _, err := word(uids[0], true); !errors.Is(err, ErrRefused) {
		t.Errorf("the same account approves: %v", err)
	}
	act, err := word(uids[0], false)
	if err != nil || !act.Confirmed || act.Over || d.times != 0 {
		t.Fatalf("%+v, %v", act, err)
	}
	if len(uids) == 1 {
		return // an account that is not root can be no other
	}
	if act, err = word(uids[1], true); err != nil || act.Second != names[1] {
		t.Fatalf("%+v, %v", act, err)
	}
	if act, err = Await(t.Context(), socket, act); err != nil || !act.Done || d.times != 1 || d.by != names[0] || d.helper != names[1] {
		t.Errorf("%+v, %+v, %v", act, d, err)
	}
	if _, err := word(uids[1], true); !errors.Is(err, ErrRefused) {
		t.Errorf("replayed: %v", err)
	}
}
