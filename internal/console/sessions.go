package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"time"
)

// How long what opens the page is good.
const (
	linkLife    = time.Minute    // from the command to the browser
	sessionLife = 12 * time.Hour // a long shift
)

// How much of it there may be at once; the oldest give way.
const (
	mostLinks    = 64
	mostSessions = 256
)

// errLocked says that there is no session, or none any more.
var errLocked = errors.New("no session")

// secret is 32 bytes from crypto/rand as text; only its digest is kept.
type secret string

type digest [sha256.Size]byte

func newSecret() secret {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return secret(base64.RawURLEncoding.EncodeToString(b))
}

func (s secret) digest() digest { return sha256.Sum256([]byte(s)) }

// session is one person at one origin.
type session struct {
	person Person
	// host is the Host that it was opened at: it is good there only.
	host   string
	cookie digest
	token  digest
	begun  time.Time
	used   time.Time // when somebody last touched the page
}

type link struct {
	person Person
	until  time.Time
}

// sessions are those that are open, in memory only: a daemon that starts anew knows none.
// One that was locked is gone.
type sessions struct {
	now       func() time.Time
	lockAfter time.Duration

	mu    sync.Mutex
	links map[digest]link
	open  map[digest]*session // by their cookie
}

func newSessions(now func() time.Time, lockAfter time.Duration) *sessions {
	return &sessions{now: now, lockAfter: lockAfter, links: map[digest]link{}, open: map[digest]*session{}}
}

// offer makes a link's secret for a person: good once, for a minute.
func (s *sessions) offer(p Person) secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	for len(s.links) >= mostLinks {
		oldest := digest{}
		for d, l := range s.links {
			if oldest == (digest{}) || l.until.Before(s.links[oldest].until) {
				oldest = d
			}
		}
		delete(s.links, oldest)
	}
	x := newSecret()
	s.links[x.digest()] = link{p, s.now().Add(linkLife)}
	return x
}

// exchange opens a session for whoever has a link's secret, at a host. errLocked when
// there is no such link, or it has been used.
func (s *sessions) exchange(x secret, host string) (cookie, token secret, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	l, ok := s.links[x.digest()]
	delete(s.links, x.digest())
	if !ok {
		return "", "", errLocked
	}
	for len(s.open) >= mostSessions {
		var oldest *session
		for _, o := range s.open {
			if oldest == nil || o.used.Before(oldest.used) {
				oldest = o
			}
		}
		delete(s.open, oldest.cookie)
	}
	cookie, token = newSecret(), newSecret()
	now := s.now()
	s.open[cookie.digest()] = &session{person: l.person, host: host, cookie: cookie.digest(), token: token.digest(), begun: now, used: now}
	return cookie, token, nil
}

// find is the session of a cookie, a token and a host that belong together. errLocked.
func (s *sessions) find(cookie, token secret, host string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	o := s.open[cookie.digest()]
	if o == nil || o.token != token.digest() || o.host != host {
		return nil, errLocked
	}
	return o, nil
}

// stands reports whether a session that was found is still open.
func (s *sessions) stands(o *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	return s.open[o.cookie] == o
}

// touch notes that somebody is at the page.
func (s *sessions) touch(o *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.used = s.now()
}

// lock ends a session.
func (s *sessions) lock(o *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, o.cookie)
}

// sweep forgets what is over. s.mu is held.
func (s *sessions) sweep() {
	now := s.now()
	for d, l := range s.links {
		if !now.Before(l.until) {
			delete(s.links, d)
		}
	}
	for d, o := range s.open {
		if now.Sub(o.used) >= s.lockAfter || now.Sub(o.begun) >= sessionLife {
			delete(s.open, d)
		}
	}
}

// may reports whether a person has one of the roles.
func (p Person) may(roles []Role) bool {
	return slices.ContainsFunc(p.Roles, func(r Role) bool { return slices.Contains(roles, r) })
}
