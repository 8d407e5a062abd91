package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// Seen is what one look at a central server shows.
type Seen struct {
	// Ahead is by how much the server's clock is ahead of this machine's, to a second.
	Ahead time.Duration
	// UserPIN and SOPIN are the certificates (DER) that the server offers as recipients of PINs.
	UserPIN, SOPIN [][]byte
}

// Look asks a server for what needs no session, so that it disturbs no daemon that has one.
// Errors are those of every call: ErrForbidden where the server does not accept the station.
func (c *Central) Look(ctx context.Context) (Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	asked := time.Now()
	resp, err := c.api.GetTrust(ctx)
	answered := time.Now()
	var t api.Trust
	if _, err := c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &t) }, http.StatusOK); err != nil {
		return Seen{}, wrap("a look at the central server", err)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return Seen{}, wrap("a look at the central server", errors.New("its answer has no date"))
	}
	// The header has whole seconds, cut off: half a second more is the middle.
	ahead := date.Add(time.Second / 2).Sub(asked.Add(answered.Sub(asked) / 2)).Round(time.Second)
	return Seen{ahead, t.UserPinRecipients, t.SoPinRecipients}, nil
}
