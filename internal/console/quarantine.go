package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Quarantine is what the page shows of, and does to, tokens that a person has to decide
// about. Isolated is asked several times a second and must not wait.
type Quarantine interface {
	// Isolated are the tokens in quarantine, the oldest first.
	Isolated() []Isolated
	// Wipe and Release do it, on the word of these people, and put it on record; job is an
	// Isolated's. Their error may be a No.
	Wipe(ctx context.Context, job, by, second string) error
	Release(ctx context.Context, job, by string) error
}

// Isolated is a token in quarantine.
type Isolated struct {
	// Job is the job that ended so, with the next action and the cause in words.
	Job Job `json:"job"`
	// Token is its serial, Casing the number outside where it is linked.
	Token  string    `json:"token"`
	Casing string    `json:"casing,omitempty"`
	Model  string    `json:"model"`
	Since  time.Time `json:"since"`
	// Bay is where it is plugged in, "" for nowhere.
	Bay string `json:"bay,omitempty"`
	// HoldsKey says that a customer's key or certificate may be on it, Emptied that it was
	// wiped here, Blank that it was proved blank then.
	HoldsKey bool `json:"holdsKey"`
	Emptied  bool `json:"emptied"`
	Blank    bool `json:"blank"`
	// NoWipe and NoRelease say why that cannot be done now; "" when it can.
	NoWipe    No `json:"noWipe,omitempty"`
	NoRelease No `json:"noRelease,omitempty"`
}

// Why nothing is done to a token in quarantine.
const (
	NoSuch      No = "no-such"       // it is not in quarantine
	NoToken     No = "no-token"      // it is not plugged in
	NoSerial    No = "no-serial"     // nobody knows which one it is
	NoModel     No = "no-model"      // its model is not emptied here
	NoSOPIN     No = "no-so-pin"     // the station does not have its SO PIN
	NoWipeTwice No = "no-wipe-twice" // it is blank already
	NotBlank    No = "not-blank"     // it was not proved blank
	Replaced    No = "replaced"      // another token shows its serial, or somebody has written it
)

// Next is what is to be done with it: release, insert, wipe or keep.
func (i Isolated) Next() string {
	switch {
	case i.NoRelease == "":
		return "release"
	case i.Emptied && !i.Blank:
		return "keep"
	case i.NoWipe == NoToken || i.NoRelease == NoToken:
		return "insert"
	case i.NoWipe == "":
		return "wipe"
	}
	return "keep"
}

// Holds is what may be on it: key, nothing, emptied or blank.
func (i Isolated) Holds() string {
	switch {
	case i.Blank:
		return "blank"
	case i.Emptied:
		return "emptied"
	case i.HoldsKey:
		return "key"
	}
	return "nothing"
}

// deciders may decide about tokens in quarantine.
func deciders() []Role { return []Role{RoleSupervisor} }

// quarantine is the screen of tokens that a person has to decide about.
func (c *Console) quarantine(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "quarantine")
	all := c.Quarantine.Isolated()
	f.add("rules", "quarantine-rules", map[string]any{"N": len(all), "May": p.may(deciders())})
	for _, i := range all {
		f.add(i.Job.ID, "isolated", map[string]any{"I": i, "May": p.may(deciders())})
	}
	return f.frame, f.err
}

// wipeAct and releaseAct prepare what is decided about the token of a job, or the one with a
// serial.
func (c *Console) wipeAct(of string) Preparation {
	return func() (Act, error) {
		i, err := c.isolated(of)
		act := Act{What: "wipe", Of: i.Token, Exactly: i.exactly(), First: deciders()}
		if i.HoldsKey {
			act.Second = deciders()
		}
		if err == nil && i.NoWipe != "" {
			err = i.NoWipe
		}
		act.Do = func(ctx context.Context, by, second string) error {
			return c.Quarantine.Wipe(ctx, i.Job.ID, by, second)
		}
		return act, err
	}
}

func (c *Console) releaseAct(of string) Preparation {
	return func() (Act, error) {
		i, err := c.isolated(of)
		if err == nil && i.NoRelease != "" {
			err = i.NoRelease
		}
		return Act{
			What: "release", Of: i.Token, Exactly: i.exactly(), First: deciders(),
			Do: func(ctx context.Context, by, _ string) error { return c.Quarantine.Release(ctx, i.Job.ID, by) },
		}, err
	}
}

func (i Isolated) exactly() string {
	return fmt.Sprintf("token %s, casing %s, %s; order %s, unit %s, job %s; on it: %s", i.Token, i.Casing, i.Model, i.Job.Order, i.Job.Unit, i.Job.ID, i.Holds())
}

// isolated is the token of a job or with a serial; a serial of several is the last's. NoSuch.
func (c *Console) isolated(of string) (Isolated, error) {
	for _, i := range slices.Backward(c.Quarantine.Isolated()) {
		if i.Job.ID == of || i.Token == of && of != "" {
			return i, nil
		}
	}
	return Isolated{Token: of}, NoSuch
}

// ofJob reads the job that a request is about.
func ofJob(prepare func(job string) Preparation) func(r *http.Request) (Preparation, error) {
	return func(r *http.Request) (Preparation, error) {
		var asked struct {
			Job string `json:"job"`
		}
		err := read(r, &asked)
		return prepare(asked.Job), err
	}
}
