package mailer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Language is that of the letter's own words.
type Language string

// Languages.
const (
	Chinese Language = "zh-CN"
	English Language = "en"
)

// Languages are all languages.
func Languages() []Language { return []Language{Chinese, English} }

// Letter is what one letter says. Text that is not on paper is not in it.
type Letter struct {
	// Company, Name and Address are the recipient, as the window shows it; Address may be empty.
	Company, Name, Address string
	OrderID                string
	// Unit is the unit's number within the order, from 1 to Of.
	Unit, Of   int
	TokenLabel pkcs11.TokenLabel
	PIN        pkcs11.UserPIN
	Language   Language
}

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// Why a letter is not made.
const (
	// ErrIncomplete: something that every letter says is missing.
	ErrIncomplete Sentinel = "the letter is incomplete"
	// ErrNoRoom: the recipient does not fit into the window.
	ErrNoRoom Sentinel = "no room on the page"
)

// content is all that is on the page but the PIN, by the thirds of the page.
type content struct {
	window []string
	title  string
	inside []string
	advice []string
}

// content checks what the letter says, and puts it into its language.
func (l Letter) content() (content, error) {
	w, err := wordsOf(l.Language)
	if err := errors.Join(err, l.validate()); err != nil {
		return content{}, err
	}
	return content{
		window: []string{l.Address, l.Company, fmt.Sprintf(w.attention, l.Name)},
		title:  w.title,
		inside: []string{
			fmt.Sprintf(w.order, l.OrderID), fmt.Sprintf(w.unit, l.Unit, l.Of),
			fmt.Sprintf(w.label, string(l.TokenLabel)), fmt.Sprintf(w.pin, l.PIN.Len()),
		},
		advice: w.advice,
	}, nil
}

func (l Letter) validate() error {
	var errs []error
	missing := func(is bool, what string) {
		if is {
			errs = append(errs, fmt.Errorf("%w: %s", ErrIncomplete, what))
		}
	}
	missing(strings.TrimSpace(l.Company) == "", "no company")
	missing(strings.TrimSpace(l.Name) == "", "no recipient's name")
	missing(l.OrderID == "", "no order")
	missing(l.Unit < 1 || l.Unit > l.Of, "no unit of the order's")
	missing(l.TokenLabel == "", "no token label")
	missing(l.PIN.IsZero(), "no PIN")
	missing(l.PIN.Len() > pinPerRow*pinRows, "a PIN that fits on the page")
	missing(strings.ContainsFunc(l.PIN.Reveal(), func(c rune) bool { return c <= ' ' || c > '~' }), "a PIN of printable ASCII")
	for _, text := range []string{l.Company, l.Name, l.Address, l.OrderID, string(l.TokenLabel)} {
		missing(!utf8.ValidString(text), "text that is not UTF-8")
	}
	return errors.Join(errs...)
}

// words are what a letter says in a language.
type words struct {
	attention string // with the recipient's name
	title     string
	order     string
	unit      string // with the unit's number and of how many
	label     string
	pin       string // with its length
	advice    []string
}

func wordsOf(l Language) (words, error) {
	switch l {
	case Chinese:
		return words{
			attention: "%s 收", title: "电子钥匙用户 PIN 码", order: "订单：%s", unit: "第 %d 把 / 共 %d 把",
			label: "令牌标签：%s", pin: "用户 PIN 码（共 %d 位）",
			advice: []string{
				"1. 本信函与电子钥匙分开寄送。如信封已拆开或破损，请勿使用电子钥匙，并立即联系发件人。",
				"2. 首次使用前，请核对电子钥匙的令牌标签与本信函所示是否一致。",
				"3. 请妥善保管本信函，不要与电子钥匙放在一起，也不要告知他人。",
				"4. 连续输错 PIN 码会锁定电子钥匙。",
			},
		}, nil
	case English:
		return words{
			attention: "Attn. %s", title: "User PIN of your electronic key", order: "Order: %s", unit: "Key %d of %d",
			label: "Token label: %s", pin: "User PIN (%d characters)",
			advice: []string{
				"1. This letter and the electronic key are sent apart. If the envelope was open or damaged when it came, do not use the key and tell the sender at once.",
				"2. Before the first use, compare the token label of the key with the one above.",
				"3. Keep this letter safe and away from the key, and tell nobody what it says.",
				"4. Several wrong PINs in a row lock the key.",
			},
		}, nil
	}
	return words{}, fmt.Errorf("%w: language %q is none of %v", ErrIncomplete, string(l), Languages())
}
