package console

import (
	"embed"
	"encoding/json"
	"net/http"
	"path"
)

// files are what browsers get as it is: the shell, which holds nothing of the station, its
// script, style and icon.
//
//go:embed assets
var files embed.FS

// assets says which of them there are, and what they are.
func assets() map[string]string {
	return map[string]string{
		"console.js": "text/javascript; charset=utf-8", "console.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml",
		"scanner.js": "text/javascript; charset=utf-8",
	}
}

func (c *Console) shell(w http.ResponseWriter, _ *http.Request, _ *session) {
	sendFile(w, "index.html", "text/html; charset=utf-8")
}

func (c *Console) asset(w http.ResponseWriter, r *http.Request, _ *session) {
	name := r.PathValue("name")
	kind, ok := assets()[name]
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	sendFile(w, name, kind)
}

func sendFile(w http.ResponseWriter, name, kind string) {
	data, err := files.ReadFile(path.Join("assets", name))
	if err != nil {
		refuse(w, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(data) // #nosec G705 -- one of our own files
}

// setCookie sets a cookie for so many seconds, or until the browser ends for 0. It goes
// without Secure, because this is http, which never leaves the machine.
func setCookie(w http.ResponseWriter, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- see above
		Name: name, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// openSession takes a link's secret and gives a session for it.
func (c *Console) openSession(w http.ResponseWriter, r *http.Request, _ *session) {
	var asked struct {
		Link string `json:"link"`
	}
	if read(r, &asked) != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	cookie, token, err := c.sessions.exchange(secret(asked.Link), r.Host)
	if err != nil {
		refuse(w, http.StatusUnauthorized)
		return
	}
	setCookie(w, cookieName, string(cookie), 0)
	send(w, map[string]secret{"token": token})
}

// lock ends the session. All its pages go blank at once.
func (c *Console) lock(w http.ResponseWriter, r *http.Request, s *session) {
	if !nothing(w, r) {
		return
	}
	c.sessions.lock(s)
	c.Changed()
	w.WriteHeader(http.StatusNoContent)
}

// present says that somebody is at the page: a hand on mouse or keyboard.
func (c *Console) present(w http.ResponseWriter, r *http.Request, s *session) {
	if !nothing(w, r) {
		return
	}
	c.sessions.touch(s)
	w.WriteHeader(http.StatusNoContent)
}

// chooseLanguage keeps the account's choice with its browser.
func (c *Console) chooseLanguage(w http.ResponseWriter, r *http.Request, s *session) {
	var asked struct {
		Language string `json:"language"`
	}
	if read(r, &asked) != nil || !c.speaks(asked.Language) {
		refuse(w, http.StatusBadRequest)
		return
	}
	c.sessions.touch(s)
	const year = 365 * 24 * 60 * 60
	setCookie(w, languageCookie, asked.Language, year)
	w.WriteHeader(http.StatusNoContent)
}

// nothing wants an empty object.
func nothing(w http.ResponseWriter, r *http.Request) bool {
	if read(r, &struct{}{}) != nil {
		refuse(w, http.StatusBadRequest)
		return false
	}
	return true
}

func send(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
