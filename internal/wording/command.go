package wording

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

// Commands puts a whole command line into the language: what its commands and flags are for,
// and how help is laid out. The names stay as they are.
func (w Words) Commands(root *cobra.Command) {
	if !w.IsChinese() {
		return
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetUsageFunc(usage)
	w.command(root)
}

func (w Words) command(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	c.Short = w.Told(c.Short)
	if own, ok := long()[digest(c.Long)]; ok {
		c.Long = own
	} else if c.Name() == "help" || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion" {
		c.Long = "" // cobra's own: the short text says it
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" { // what is typed is no text, also where a word of it is one elsewhere
			f.Usage = w.Sprintf("help for %s", c.Name())
			return
		}
		f.Usage = w.Told(f.Usage)
	})
	for _, child := range c.Commands() {
		w.command(child)
	}
}

// digest is by what a long text is known: the beginning of its SHA-256, in hexadecimal.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// usage is how a command is used, in Chinese.
func usage(c *cobra.Command) error {
	var b strings.Builder
	b.WriteString("用法：\n")
	if c.Runnable() {
		fmt.Fprintf(&b, "  %s\n", strings.Replace(c.UseLine(), "[flags]", "[选项]", 1))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [命令]\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\n示例：\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("\n命令：\n")
		for _, child := range c.Commands() {
			if child.IsAvailableCommand() || child.Name() == "help" {
				fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), child.Name(), child.Short)
			}
		}
	}
	flagLines(&b, "选项", c.LocalFlags())
	flagLines(&b, "全局选项", c.InheritedFlags())
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n查看一个命令的说明：%s [命令] --help\n", c.CommandPath())
	}
	_, err := io.WriteString(c.OutOrStderr(), b.String())
	return err
}

// flagLines writes flags in two columns. pflag counts bytes for its columns, and so cannot.
func flagLines(b *strings.Builder, title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, "\n%s：\n", title)
	var left, right []string
	wide := 0
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			text += "（默认 " + f.DefValue + "）"
		}
		left, right = append(left, name), append(right, text)
		wide = max(wide, output.Columns().StringWidth(name))
	})
	for i, name := range left {
		fmt.Fprintf(b, "%s   %s\n", output.Columns().FillRight(name, wide), right[i])
	}
}
