package mailer

import (
	"fmt"
	"html/template"
	"io"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// masked stands for a PIN of any length.
const masked = "••••••••"

const previewPage = `<!doctype html>
<html lang="{{.Language}}">
<meta charset="utf-8">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.6 sans-serif; margin: 2em auto; max-width: 42em; color: #222; }
section { border: 1px solid #bbb; border-bottom-style: dashed; padding: 1em 1.5em; white-space: pre-line; }
section + section { border-top: 0; }
.pin { font-size: 24px; letter-spacing: .4em; border: 1px solid #222; padding: .3em .6em; }
</style>
<section>{{range .Window}}{{.}}
{{end}}</section>
<section><h1>{{.Title}}</h1>{{range .Inside}}{{.}}
{{end}}<div class="pin">{{.PIN}}</div></section>
<section>{{range .Advice}}{{.}}
{{end}}</section>
</html>
`

// Preview writes the letter as HTML, with the PIN masked. Nothing is asked of a font.
// Errors: ErrIncomplete, and those of out.
func Preview(out io.Writer, l Letter) error {
	c, err := l.content()
	if err != nil {
		return err
	}
	page, err := template.New("letter").Parse(previewPage)
	if err != nil {
		return fmt.Errorf("letter: %w", err)
	}
	return page.Execute(out, struct {
		Language       Language
		Title, PIN     string
		Window, Inside []string
		Advice         []string
	}{
		l.Language, c.title, masked, c.window, c.inside, c.advice,
	})
}

// Lines are what is on the page but for the PIN, which the letter need not have. ErrIncomplete.
func Lines(l Letter) ([]string, error) {
	l.PIN = pkcs11.NewUserPIN("0") // stands in for it
	c, err := l.content()
	if err != nil {
		return nil, err
	}
	return append(append(c.window, c.title), c.inside[:len(c.inside)-1]...), nil // the last says the PIN's length
}
