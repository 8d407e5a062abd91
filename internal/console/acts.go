package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An act that asks again is not done on a click: the click makes it pending, with a code,
// and whoever clicked says once more who they are, at the socket, where the kernel vouches
// for them. What needs two people needs another account's word too, under the same code.

// Act is something that is done only after it was asked for again.
type Act struct {
	// What names it: there is a text "act." + What, of Of.
	What, Of string
	// Exactly holds all that the decision rests on. When it has become another between the
	// asking and the answer, nothing is done.
	Exactly string
	// First are the roles of which whoever asks has one, Second those of which another person
	// has one who approves; none where nobody else is needed.
	First, Second []Role
	// Do does it and puts it on record, on the word of by and, where one was needed, of
	// second. Its error may be a No.
	Do func(ctx context.Context, by, second string) error
}

// Preparation makes an act as things are now. Its error may be a No.
type Preparation func() (Act, error)

// No is why something is not done, as a code: there is a text "no." + No.
type No string

// Error implements error.
func (n No) Error() string { return "not done: " + string(n) }

// Limits of acts.
const (
	actLife   = 2 * time.Minute // from the asking to the last answer
	actShown  = time.Minute     // after its end
	mostActs  = 16              // of one person
	mostWrong = 5               // answers to one code, and codes of one account within actLife
)

// actState is where an act stands.
type actState string

// States of an act. After actOpen and actDoing it is over.
const (
	actOpen      actState = "open"
	actDoing     actState = "doing"
	actDone      actState = "done"
	actFailed    actState = "failed"
	actExpired   actState = "expired"
	actCancelled actState = "cancelled"
	actChanged   actState = "changed"
	actVoid      actState = "void" // too many wrong answers
)

// actStates are all of them.
func actStates() []actState {
	return []actState{actOpen, actDoing, actDone, actFailed, actExpired, actCancelled, actChanged, actVoid}
}

// pending is an act with who asked and who has answered. What is not for others to change
// is copied out as it is.
type pending struct {
	Act
	code    string
	by      Person
	prepare Preparation
	until   time.Time
	// confirmed is set when the one who asked has answered, second when another has.
	confirmed bool
	second    string
	wrong     int
	state     actState
	ended     time.Time
	// failure is why it failed.
	failure error
}

// digest is what an answer names, so that what was read is what is done.
func (p *pending) digest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", p.code, p.by.ID, p.What, p.Of, p.Exactly))
	return hex.EncodeToString(sum[:])
}

// complete reports whether all have answered.
func (p *pending) complete() bool { return p.confirmed && (len(p.Second) == 0 || p.second != "") }

// acts are those that are pending, and those that ended a moment ago.
type acts struct {
	now func() time.Time

	mu    sync.Mutex
	all   []*pending // in the order of asking
	wrong map[uint32][]time.Time
}

func newActs(now func() time.Time) *acts { return &acts{now: now, wrong: map[uint32][]time.Time{}} }

// newCode is eight of 32 characters, none of which looks like another.
func newCode() string {
	const letters = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// sameCode compares codes as people type them.
func sameCode(code, typed string) bool {
	plain := func(s string) string { return strings.NewReplacer("-", "", " ", "").Replace(strings.ToUpper(s)) }
	return plain(code) == plain(typed)
}

// ask makes an act pending for a person. An act that is not to be is kept a moment too, so
// that the page can say why. errNotYou when the person may not ask for it.
func (a *acts) ask(by Person, prepare Preparation) (pending, error) {
	act, err := prepare()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep()
	p := &pending{Act: act, code: newCode(), by: by, prepare: prepare, until: a.now().Add(actLife), state: actOpen}
	var no No
	switch {
	case errors.As(err, &no):
		p.state, p.failure, p.ended = actFailed, no, a.now()
	case err != nil:
		return pending{}, err
	case !by.may(act.First):
		return pending{}, errNotYou
	}
	a.makeRoom(by)
	a.all = append(a.all, p)
	return *p, err
}

// makeRoom forgets the oldest of a person's acts when there are too many. a.mu is held.
func (a *acts) makeRoom(by Person) {
	n, oldest := 0, -1
	for i, p := range a.all {
		if p.by.UID != by.UID || p.state == actDoing {
			continue
		}
		if n++; oldest < 0 {
			oldest = i
		}
	}
	if n >= mostActs {
		a.all = slices.Delete(a.all, oldest, oldest+1)
	}
}

// find is the act of a code. Codes that do not exist count against the account. a.mu is held.
func (a *acts) find(code string, who Person) (*pending, error) {
	a.sweep()
	if len(a.wrong[who.UID]) >= mostWrong {
		return nil, errTooMany
	}
	for _, p := range a.all {
		if sameCode(p.code, code) {
			return p, nil
		}
	}
	a.wrong[who.UID] = append(a.wrong[who.UID], a.now())
	return nil, errNoCode
}

// see is the act of a code, for whoever may answer to it.
func (a *acts) see(code string, who Person) (pending, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.find(code, who)
	if err != nil {
		return pending{}, err
	}
	if p.by.UID != who.UID && !who.may(p.Second) {
		return pending{}, a.count(p, errWrongRole)
	}
	return *p, nil
}

// answer takes a person's word for the act of a code that they saw as seen. With the last
// word the act is to be done, by whoever gave it: then do is not nil.
func (a *acts) answer(code string, who Person, approve bool, seen string) (now pending, do func(context.Context), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.find(code, who)
	if err != nil {
		return pending{}, nil, err
	}
	if err := p.refuses(who, approve); err != nil {
		return *p, nil, a.count(p, err)
	}
	act, err := p.prepare()
	var no No
	switch {
	case errors.As(err, &no):
		a.end(p, actFailed, no)
		return *p, nil, no
	case err != nil:
		return *p, nil, err
	case act.What != p.What || act.Of != p.Of || act.Exactly != p.Exactly || !slices.Equal(act.Second, p.Second) || seen != p.digest():
		a.end(p, actChanged, nil)
		return *p, nil, errChanged
	}
	p.Act = act
	if approve {
		p.second = who.ID
	} else {
		p.confirmed = true
	}
	if !p.complete() {
		return *p, nil, nil
	}
	p.state = actDoing
	return *p, func(ctx context.Context) {
		err := act.Do(ctx, p.by.ID, p.second)
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.end(p, actFailed, err)
			return
		}
		a.end(p, actDone, nil)
	}, nil
}

// refuses says why a person's word does not count.
func (p *pending) refuses(who Person, approve bool) error {
	same := who.UID == p.by.UID || who.ID == p.by.ID
	switch {
	case p.state == actExpired:
		return errExpired
	case p.state != actOpen:
		return errOver
	case approve && len(p.Second) == 0:
		return errNobodyElse
	case approve && same:
		return errSamePerson
	case approve && !who.may(p.Second):
		return errWrongRole
	case approve && p.second != "":
		return errOver
	case !approve && !same:
		return errOtherPerson
	case !approve && !who.may(p.First):
		return errWrongRole
	case !approve && p.confirmed:
		return errOver
	}
	return nil
}

// count counts a wrong answer against the act. a.mu is held.
func (a *acts) count(p *pending, err error) error {
	if p.state != actOpen {
		return err
	}
	if p.wrong++; p.wrong >= mostWrong {
		a.end(p, actVoid, nil)
		return errors.Join(err, errTooMany)
	}
	return err
}

// cancel ends an act that is not being done yet, for whoever asked for it.
func (a *acts) cancel(code string, who Person) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep()
	for _, p := range a.all {
		if sameCode(p.code, code) && p.by.UID == who.UID && p.state == actOpen {
			a.end(p, actCancelled, nil)
			return nil
		}
	}
	return errNoCode
}

// mine are the acts that a person has asked for, the latest first.
func (a *acts) mine(who Person) []pending {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep()
	var out []pending
	for _, p := range slices.Backward(a.all) {
		if p.by.UID == who.UID {
			out = append(out, *p)
		}
	}
	return out
}

// end ends an act. a.mu is held.
func (a *acts) end(p *pending, state actState, why error) {
	p.state, p.failure, p.ended = state, why, a.now()
}

// sweep ends what is over and forgets what ended long ago. a.mu is held.
func (a *acts) sweep() {
	now := a.now()
	for _, p := range a.all {
		if p.state == actOpen && !now.Before(p.until) {
			p.state, p.ended = actExpired, p.until
		}
	}
	a.all = slices.DeleteFunc(a.all, func(p *pending) bool { return !p.ended.IsZero() && now.Sub(p.ended) >= actShown })
	for uid, times := range a.wrong {
		times = slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= actLife })
		if a.wrong[uid] = times; len(times) == 0 {
			delete(a.wrong, uid)
		}
	}
}

// Why an answer does not count. They go over the socket and are sentences there.
const (
	errNoCode      = refusal("there is no such code, or what it was for is over: look at the page")
	errExpired     = refusal("the code is more than two minutes old: ask again on the page")
	errOver        = refusal("that was answered already, or is over")
	errSamePerson  = refusal("another person has to approve, under an account of their own")
	errOtherPerson = refusal("only the account that asked may confirm; another one approves: usbkeyd approve")
	errNobodyElse  = refusal("nobody else has to approve this: whoever asked runs usbkeyd confirm")
	errWrongRole   = refusal("the account has no role that may answer to this")
	errNotYou      = refusal("the account has no role that may ask for this")
	errChanged     = refusal("what was asked for is not the same any more, so nothing was done: look at the page and ask again")
	errTooMany     = refusal("too many wrong answers: wait two minutes and ask again on the page")
)
