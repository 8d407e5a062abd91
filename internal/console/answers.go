package console

import (
	"context"
	"errors"
	"time"
)

// ActView is an act as the commands see it.
type ActView struct {
	Code string `json:"code"`
	// Says is what is to be done, by language (zh-CN, en); Exactly what it rests on.
	Says    map[string]string `json:"says"`
	Exactly string            `json:"exactly"`
	// By is who asked, Second who approved; NeedsSecond says that somebody has to.
	By          string `json:"by"`
	Second      string `json:"second,omitempty"`
	NeedsSecond bool   `json:"needsSecond,omitempty"`
	Confirmed   bool   `json:"confirmed,omitempty"`
	// Over says that it has ended, Done that it was done then; State is how it stands, by
	// language, and Why the cause in words.
	Over  bool              `json:"over,omitempty"`
	Done  bool              `json:"done,omitempty"`
	State map[string]string `json:"state"`
	Why   map[string]string `json:"why,omitempty"`
	// Seen is what an answer names: what was read is what is done.
	Seen string `json:"seen"`
}

// hear lets a person see an act, or takes their word for it.
func (c *Console) hear(who Person, q question) (answer, func(context.Context)) {
	var p pending
	var do func(context.Context)
	var err error
	if q.Ask == askAct {
		p, err = c.acts.see(q.Code, who)
	} else {
		p, do, err = c.acts.answer(q.Code, who, q.Ask == askApprove, q.Seen)
		c.Log.Info("an answer to what was asked for", "person", who.ID, "uid", who.UID, "answer", q.Ask, "act", p.What, "of", p.Of, "by", p.by.ID, "done", do != nil, "error", err)
		c.Changed()
	}
	a := c.told(p, err)
	if do == nil {
		return a, nil
	}
	return a, func(ctx context.Context) {
		do(ctx)
		c.Changed()
	}
}

// askFor makes an act pending for a person at the socket. They still have to confirm it.
func (c *Console) askFor(who Person, prepare Preparation) answer {
	p, err := c.acts.ask(who, prepare)
	c.Changed()
	return c.told(p, err)
}

// told is an act in an answer, or why there is none.
func (c *Console) told(p pending, err error) answer {
	var why refusal
	var no No
	switch {
	case errors.As(err, &why):
		return answer{Refused: why.Error()}
	case errors.As(err, &no):
		return answer{Refused: c.words[len(c.words)-1].why(no).Text}
	case err != nil:
		c.Log.Error("an act could not be prepared", "act", p.What, "error", err)
		return answer{Refused: "it could not be looked up; the daemon's log says why"}
	}
	view, err := c.viewOf(p)
	if err != nil {
		c.Log.Error("an act cannot be told", "act", p.What, "error", err)
		return answer{Refused: "it cannot be told; the daemon's log says why"}
	}
	return answer{Act: &view}
}

// viewOf is an act in words.
func (c *Console) viewOf(p pending) (ActView, error) {
	v := ActView{
		Code: p.code, Says: map[string]string{}, Exactly: p.Exactly, By: p.by.ID, Second: p.second, NeedsSecond: len(p.Second) > 0, Confirmed: p.confirmed,
		Over: !p.ended.IsZero(), Done: p.state == actDone, State: map[string]string{}, Why: map[string]string{}, Seen: p.digest(),
	}
	for _, w := range c.words {
		says, err := w.say("act."+p.What, p.Of)
		state, err2 := w.say("acting." + string(p.state))
		if err := errors.Join(err, err2); err != nil {
			return v, err
		}
		v.Says[w.name], v.State[w.name] = says, state
		if p.failure != nil {
			v.Why[w.name] = w.why(p.failure).Text
		}
	}
	return v, nil
}

// SeeAct asks what a code is for. ErrRefused; errors of the socket.
func SeeAct(ctx context.Context, socket, code string) (*ActView, error) {
	a, err := call(ctx, socket, question{Ask: askAct, Code: code})
	return a.Act, err
}

// Respond gives this account's word for an act that it has seen: confirms what it asked for
// itself, or approves what another asked for. ErrRefused; errors of the socket.
func Respond(ctx context.Context, socket string, act *ActView, approve bool) (*ActView, error) {
	q := question{Ask: askConfirm, Code: act.Code, Seen: act.Seen}
	if approve {
		q.Ask = askApprove
	}
	a, err := call(ctx, socket, q)
	return a.Act, err
}

// AskIsolated asks for the tokens in quarantine. ErrRefused; errors of the socket.
func AskIsolated(ctx context.Context, socket string) ([]Isolated, error) {
	a, err := call(ctx, socket, question{Ask: askQuarantine})
	return a.Isolated, err
}

// AskWipe asks for a token in quarantine, named by its serial or its job, to be wiped: which
// is to be confirmed, then. ErrRefused; errors of the socket.
func AskWipe(ctx context.Context, socket, of string) (*ActView, error) {
	a, err := call(ctx, socket, question{Ask: askWipe, Of: of})
	return a.Act, err
}

// AskRelease is like AskWipe.
func AskRelease(ctx context.Context, socket, of string) (*ActView, error) {
	a, err := call(ctx, socket, question{Ask: askRelease, Of: of})
	return a.Act, err
}

// Await follows an act until it is over, or waits for somebody's word. ErrRefused; errors
// of the socket.
func Await(ctx context.Context, socket string, act *ActView) (*ActView, error) {
	const often = 200 * time.Millisecond
	for !act.Over && act.Confirmed && (!act.NeedsSecond || act.Second != "") {
		if !wait(ctx, often, nil) {
			return act, ctx.Err()
		}
		now, err := SeeAct(ctx, socket, act.Code)
		if err != nil {
			return act, err
		}
		act = now
	}
	return act, nil
}
