package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"sync"
	"time"
)

// The door is the Unix socket at which an account of this machine asks for a link, or for what
// the command line prints. Anybody
// may knock: who it is, the kernel says (SO_PEERCRED, unix(7)), and the roles decide. One
// line of JSON goes in, one comes out.

// Limits of the door.
const (
	doorPatience = 5 * time.Second
	maxLine      = 4 << 10 // of a question
	maxAnswer    = 4 << 20
)

// What can be asked.
const (
	askLink    = "link"
	askFloor   = "floor"   // what Floor says
	askAct     = "act"     // what a code is for
	askConfirm = "confirm" // says once more who asked
	askApprove = "approve" // is the second person's word

	askQuarantine = "quarantine" // the tokens in quarantine
	askWipe       = "wipe"       // makes an act of wiping one
	askRelease    = "release"    // makes an act of releasing one

	askTeach = "teach" // how far a teaching is, after an act of it where one is named
)

type question struct {
	Ask string `json:"ask"`
	// Code is that of an act, Seen the digest of what was shown of it.
	Code string `json:"code,omitempty"`
	Seen string `json:"seen,omitempty"`
	// Of is the token that is to be wiped or released: its serial, or its job.
	Of string `json:"of,omitempty"`
	// Do is what whoever teaches does.
	Do TeachAct `json:"do,omitempty"`
}

type answer struct {
	// Link leads to the page. Its secret is in the fragment, which no browser sends.
	Link   string `json:"link,omitempty"`
	Person string `json:"person,omitempty"`
	Floor  *Shown `json:"floor,omitempty"`
	// Act is the act that was asked about, as it is now.
	Act *ActView `json:"act,omitempty"`
	// Isolated are the tokens in quarantine.
	Isolated []Isolated `json:"isolated,omitempty"`
	Teaching *Teaching  `json:"teaching,omitempty"`
	// Refused says why there is none.
	Refused string `json:"refused,omitempty"`
}

// Shown is what the page shows of the bays and of the queue.
type Shown struct {
	Bays  []Bay
	Queue []Job
}

// ErrRefused is what is returned when the station does not do what this account asks for;
// the text says why.
var ErrRefused = errors.New("the station refuses")

type door struct {
	net.Listener
	console *Console
	// talks are those that go on, with what was begun in them.
	talks sync.WaitGroup
}

// openDoor takes the socket's path; what a daemon that was killed left there goes away.
func (c *Console) openDoor(ctx context.Context, path string) (*door, error) {
	if err := vouches(); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("console socket %s: something else is there", path)
		}
		if conn, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
			return nil, errors.Join(fmt.Errorf("console socket %s: another usbkeyd answers there", path), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("console socket: %w", err)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // #nosec G302 -- anybody may knock
		return nil, errors.Join(fmt.Errorf("console socket: %w", err), l.Close())
	}
	return &door{Listener: l, console: c}, nil
}

// serve answers until ctx ends.
func (d *door) serve(ctx context.Context) error {
	slots := make(chan struct{}, 32)
	for {
		conn, err := d.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return conn.Close()
		}
		d.talks.Go(func() {
			defer func() { <-slots }()
			do, err := d.answer(conn.(*net.UnixConn))
			if err != nil {
				d.console.Log.Warn("somebody at the console socket was not answered", "error", err)
			}
			if do != nil { // whether the answer was heard or not: the word was given
				do(ctx)
			}
		})
	}
}

// answer answers one question. What is to be done on it, do does.
func (d *door) answer(conn *net.UnixConn) (do func(context.Context), err error) {
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(doorPatience)); err != nil {
		return nil, err
	}
	uid, err := peer(conn)
	if err != nil {
		return nil, err
	}
	var q question
	if err := readLine(conn, maxLine, &q); err != nil {
		return nil, err
	}
	a, do := d.console.decide(uid, q)
	return do, json.NewEncoder(conn).Encode(a)
}

// decide is what an account gets for its question, and what is to be done on it.
func (c *Console) decide(uid uint32, q question) (a answer, do func(context.Context)) {
	p, err := who(uid, c.Roles)
	if err != nil {
		c.Log.Warn("an account is refused at the console socket", "uid", uid, "ask", q.Ask, "error", err)
		var why refusal
		if errors.As(err, &why) {
			return answer{Refused: why.Error()}, nil
		}
		return answer{Refused: "the account could not be looked up; the daemon's log says why"}, nil
	}
	switch q.Ask {
	case askLink:
		return c.link(p), nil
	case askFloor:
		return answer{Floor: &Shown{c.Floor.Bays(), c.Floor.Queue()}, Person: p.ID}, nil
	case askAct, askConfirm, askApprove:
		return c.hear(p, q)
	case askQuarantine:
		return answer{Isolated: c.Quarantine.Isolated()}, nil
	case askWipe:
		return c.askFor(p, c.wipeAct(q.Of)), nil
	case askRelease:
		return c.askFor(p, c.releaseAct(q.Of)), nil
	case askTeach:
		return c.lesson(p, q.Do), nil
	}
	return answer{Refused: "this usbkeyd does not know what is asked: are both of the same version?"}, nil
}

// link gives a person a link to the page.
func (c *Console) link(p Person) answer {
	c.Log.Info("a link to the operator's page", "person", p.ID, "uid", p.UID, "roles", p.Roles)
	link := url.URL{Scheme: "http", Host: c.hosts[0], Path: "/", Fragment: "link=" + string(c.sessions.offer(p))}
	return answer{Link: link.String(), Person: p.ID}
}

// Ask asks the station behind a socket for a link for the account that this process runs
// as, and returns the link and the person's id. ErrRefused; errors of the socket.
func Ask(ctx context.Context, socket string) (link, person string, err error) {
	a, err := call(ctx, socket, question{Ask: askLink})
	if err == nil && a.Link == "" {
		err = fmt.Errorf("%w: no link came", ErrRefused)
	}
	return a.Link, a.Person, err
}

// Look asks for what the page shows, for that account. ErrRefused; errors of the socket.
func Look(ctx context.Context, socket string) (Shown, error) {
	a, err := call(ctx, socket, question{Ask: askFloor})
	if err == nil && a.Floor == nil {
		err = fmt.Errorf("%w: nothing came", ErrRefused)
	}
	if err != nil {
		return Shown{}, err
	}
	return *a.Floor, nil
}

// call asks the station behind a socket one question. ErrRefused; errors of the socket.
func call(ctx context.Context, socket string, q question) (a answer, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(doorPatience)); err != nil {
		return a, err
	}
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return a, err
	}
	if err := readLine(conn, maxAnswer, &a); err != nil {
		return a, err
	}
	if a.Refused != "" {
		return a, fmt.Errorf("%w: %s", ErrRefused, a.Refused)
	}
	return a, nil
}

// readLine reads one line of JSON.
func readLine(conn net.Conn, most int64, into any) error {
	line, err := bufio.NewReader(io.LimitReader(conn, most)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	if err := json.Unmarshal(line, into); err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	return nil
}
