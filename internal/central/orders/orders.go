// Package orders holds the rules of an order that its schema cannot express: the
// check character of the company's code, how dates stand to each other, text that
// must be printable, lengths that a certificate allows.
//
// It works on a decoded JSON document of which any part may be wrong, so that its
// findings stand beside those of the schema in one answer. It must not know HTTP
// nor where orders are kept. It never repeats a value in a message: orders hold
// personal data.
package orders

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/usbkeyd/usbkeyd/api"
)

const (
	// maxCompany is the upper bound of organizationName and commonName (RFC 5280,
	// appendix A.1, ub-organization-name and ub-common-name).
	maxCompany = 64
	// clockSkew is how far ahead of us the portal's clock may be.
	clockSkew = 5 * time.Minute
)

// Check returns what is wrong with an order that came for the given id.
func Check(document any, id string, now time.Time) []api.FieldError {
	var c checker
	c.text("", document)
	order, ok := document.(map[string]any)
	if !ok {
		return c.found
	}
	if got, ok := order["orderId"].(string); ok && got != id {
		c.add("/orderId", "must be the id in the path, "+id)
	}
	if company, ok := order["company"].(map[string]any); ok {
		if uscc, ok := company["uscc"].(string); ok {
			if err := CheckUSCC(uscc); err != nil {
				c.add("/company/uscc", err.Error())
			}
		}
		if name, ok := company["name"].(string); ok && utf8.RuneCountInString(name) > maxCompany {
			c.add("/company/name", fmt.Sprintf("has more than %d characters, which is the most that a certificate's subject can hold (RFC 5280, appendix A.1)", maxCompany))
		}
	}
	if handler, ok := order["handler"].(map[string]any); ok {
		if email, ok := handler["email"].(string); ok && strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r >= unicode.MaxASCII }) {
			c.add("/handler/email", "must be ASCII (an rfc822Name is an IA5String: RFC 5280, 4.2.1.6)")
		}
	}
	c.dates(order, now)
	return c.found
}

type checker struct{ found []api.FieldError }

func (c *checker) add(pointer, detail string) {
	c.found = append(c.found, api.FieldError{Pointer: pointer, Detail: detail})
}

func (c *checker) dates(order map[string]any, now time.Time) {
	approval, _ := order["approval"].(map[string]any)
	approved, haveApproved := date(approval["approvedAt"])
	due, haveDue := date(order["dueAt"])
	if haveApproved && approved.After(now.Add(clockSkew)) {
		c.add("/approval/approvedAt", "is in the future")
	}
	if haveApproved && haveDue && !due.After(approved) {
		c.add("/dueAt", "must be after approval.approvedAt")
	}
}

func date(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}

// text walks through every string: an order is printed on labels and written into
// certificates, so what a person cannot see must not be in it.
func (c *checker) text(pointer string, v any) {
	switch v := v.(type) {
	case string:
		if why := unprintable(v); why != "" {
			c.add(pointer, why)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			c.text(pointer+"/"+api.PointerToken(k), v[k])
		}
	case []any:
		for i, item := range v {
			c.text(pointer+"/"+strconv.Itoa(i), item)
		}
	}
}

func unprintable(s string) string {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return "has a control, format or other invisible character, or a blank other than the plain one"
	case strings.TrimSpace(s) != s:
		return "begins or ends with a blank"
	}
	return ""
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
