// Package docs finds the commands that the documents tell a reader to type: those in
// blocks, and those in the text.
//
// It owns how a document is read. It must not know what a command does, nor how a
// block is run.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Document is one Markdown file.
type Document struct {
	Path   string // from the project's root
	Blocks []Block
	// Inline are commands in the text, between backquotes.
	Inline []Command
}

// Block is what stands by itself: fenced, or indented by four blanks or more.
type Block struct {
	Line     int    // of its first line in the document
	Language string // as the fence says; "" for an indented one
	Text     string // without the indentation
}

// Command is one command, as it is written.
type Command struct {
	Document string
	Line     int
	Text     string
}

// String says where it stands.
func (c Command) String() string { return fmt.Sprintf("%s:%d: %s", c.Document, c.Line, c.Text) }

// Read reads all documents that are for readers: those at the root, and those below docs.
func Read(root string) ([]Document, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []Document
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		all = append(all, Parse(filepath.ToSlash(name), string(text)))
	}
	return all, nil
}

// Parse reads one document.
func Parse(name, text string) Document {
	d := Document{Path: name}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		trimmed := strings.TrimLeft(line, " ")
		indent := len(line) - len(trimmed)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			b := Block{Line: i + 2, Language: strings.TrimPrefix(trimmed, "```")}
			for i++; i < len(lines) && !strings.HasPrefix(strings.TrimLeft(lines[i], " "), "```"); i++ {
				b.Text += cut(lines[i], indent) + "\n"
			}
			if b.Language == "" {
				b.Language = "none"
			}
			d.Blocks = append(d.Blocks, b)
		case indent >= 4 && (i == 0 || strings.TrimSpace(lines[i-1]) == ""):
			b := Block{Line: i + 1}
			for ; i < len(lines) && len(lines[i])-len(strings.TrimLeft(lines[i], " ")) >= indent && lines[i] != ""; i++ {
				b.Text += cut(lines[i], indent) + "\n"
			}
			i--
			d.Blocks = append(d.Blocks, b)
		default:
			d.Inline = append(d.Inline, inline(name, i+1, line)...)
		}
	}
	return d
}

func cut(line string, n int) string { return line[min(n, len(line)-len(strings.TrimLeft(line, " "))):] }

var (
	span    = regexp.MustCompile("`([^`]+)`")
	program = regexp.MustCompile(`^(usbkeyd|usbkey-central|usbkeyd\.exe|scripts/[a-z.-]+)( |$)`)
	// manager is what manages our services and packages.
	manager = regexp.MustCompile(`^(systemctl|service|update-rc\.d|apt-get) .*\b(usbkeyd|usbkey-central)\b`)
	// optional is what may be left out; its flags are checked all the same.
	optional = regexp.MustCompile(`\[([^]]*)\]`)
)

// inline are the commands in a line of text. In a row of a table, what is listed after a program's
// command in the first cell belongs to that program, too.
func inline(document string, n int, line string) []Command {
	var all []Command
	first, end := "", 0
	for _, at := range span.FindAllStringSubmatchIndex(line, -1) {
		text, before := line[at[2]:at[3]], strings.TrimSpace(line[end:at[0]])
		end = at[1]
		own := program.FindStringSubmatch(text)
		switch {
		case strings.Contains(text, ": "): // what a program says
			continue
		case manager.MatchString(text):
			all = append(all, Command{document, n, text})
			continue
		case own != nil:
			if before == "|" {
				first = own[1]
			}
		case first != "" && slices.Contains([]string{",", "、", "·"}, before):
			text = first + " " + text
		default:
			continue
		}
		for _, one := range alternatives(text) {
			all = append(all, Command{document, n, one})
		}
	}
	return all
}

// alternatives takes "pack open, scan" apart, and brackets away.
func alternatives(text string) []string {
	var flags []string
	text = optional.ReplaceAllStringFunc(text, func(m string) string {
		flags = append(flags, strings.TrimRight(strings.Fields(strings.Trim(m, "[]"))[0], ",、"))
		if words := strings.Fields(strings.Trim(m, "[]")); len(words) > 1 {
			flags = append(flags, "VALUE")
		}
		return ""
	})
	parts := strings.Split(strings.ReplaceAll(text, "、", ", "), ", ")
	words := strings.Fields(parts[0])
	var all []string
	for i, part := range parts {
		one := words
		if i > 0 {
			one = append(slices.Clone(words[:len(words)-1]), strings.Fields(part)...)
		}
		all = append(all, strings.Join(append(slices.Clone(one), flags...), " "))
	}
	return all
}

// IsShell says whether a block is for a shell: by its fence, or because its first word is a program.
func (b Block) IsShell() bool {
	switch b.Language {
	case "sh", "bash", "console":
		return true
	case "", "none":
		word, _, _ := strings.Cut(strings.TrimPrefix(b.Text, "$ "), " ")
		word = strings.TrimSpace(word)
		if program.MatchString(word) || strings.Contains(word, "=") {
			return !strings.HasPrefix(word, "{")
		}
		_, err := exec.LookPath(word)
		return err == nil && !strings.Contains(word, "/")
	}
	return false
}

// Script is what a shell is given of a block: of a transcript, the lines after the prompt.
func (b Block) Script() string {
	if !strings.HasPrefix(b.Text, "$ ") && b.Language != "console" {
		return b.Text
	}
	out, more := "", false
	for line := range strings.Lines(b.Text) {
		typed, prompt := strings.CutPrefix(line, "$ ")
		if prompt || more {
			out += typed
			more = strings.HasSuffix(strings.TrimRight(line, "\n"), "\\")
		}
	}
	return out
}

// Commands are the lines of a block, continued ones in one and without comments.
func (b Block) Commands(document string) []Command {
	var all []Command
	n, text := b.Line, ""
	for line := range strings.Lines(b.Script()) {
		line = strings.TrimRight(line, "\n")
		if before, continued := strings.CutSuffix(line, "\\"); continued {
			text += before
			continue
		}
		text += line
		if before, _, found := strings.Cut(text, " # "); found {
			text = before
		}
		if text = strings.Join(strings.Fields(text), " "); text != "" && !strings.HasPrefix(text, "#") {
			all = append(all, Command{document, n, text})
		}
		n, text = n+1, ""
	}
	return all
}

// Each hands over every command of the document: those of its shell blocks, and those in the text,
// which may be mentioned without arguments.
func (d Document) Each(see func(c Command, mention bool)) {
	for _, b := range d.Blocks {
		if b.IsShell() {
			for _, c := range b.Commands(d.Path) {
				see(c, false)
			}
		}
	}
	for _, c := range d.Inline {
		see(c, true)
	}
}
