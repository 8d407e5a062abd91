package central

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/calendar"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// daysToMake is how many working days after its approval an order is due.
const daysToMake = 3

// calendar is the built-in notices, and over them those of the file. The file is read
// each time, so that it can be replaced under a running server.
func (c Config) calendar() (calendar.Calendar, error) {
	days, err := calendar.BuiltIn()
	if err != nil || c.CalendarFile == "" {
		return days, err
	}
	years, err := calendar.ReadFile(c.CalendarFile)
	return days.With(years), err
}

// dueAt is when an order is due: what it says itself, or what the calendar says.
func (s *Server) dueAt(ctx context.Context, o api.Order, content []byte) (time.Time, error) {
	if o.DueAt != nil {
		return *o.DueAt, nil
	}
	days, err := s.cfg.calendar()
	if err != nil {
		err = problem(api.ProblemUnavailable, err.Error()+"; put the file right, or name dueAt")
	} else {
		var due time.Time
		if due, err = days.Due(o.Approval.ApprovedAt, daysToMake); err == nil {
			return due.UTC(), nil
		}
	}
	// What was accepted stays accepted, whatever became of the calendar.
	known, knownErr := s.store.Order(ctx, o.OrderId)
	if knownErr == nil && bytes.Equal(known.Content, content) {
		return known.DueAt, nil
	}
	var refusal *store.Refusal
	if knownErr != nil && !(errors.As(knownErr, &refusal) && refusal.Reason == store.NotFound) {
		return time.Time{}, knownErr
	}
	var missing *calendar.MissingYearError
	if errors.As(err, &missing) {
		err = problem(api.ProblemInvalidContent, "", api.FieldError{
			Pointer: "/dueAt", Detail: "cannot be computed: " + missing.Error() + "; add the notice to the server's calendar file (serve --calendar), or name dueAt",
		})
	}
	return time.Time{}, err
}
