package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// chinese is the language as main gives it.
func chinese() wording.Words { return wording.Chinese(console.Chinese()) }

func han(text string) bool { return regexp.MustCompile(`\p{Han}`).MatchString(text) }

// TestCommandsAreInChinese: whatever help shows.
func TestCommandsAreInChinese(t *testing.T) {
	words := chinese()
	root := newRoot(streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard, words: words}, notShutIn)
	words.Commands(root)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !han(c.Short) {
			t.Errorf("%s is for %q", c.CommandPath(), c.Short)
		}
		if c.Long != "" && !han(c.Long) {
			t.Errorf("%s has no long text in Chinese: %q", c.CommandPath(), c.Long)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if value, _ := pflag.UnquoteUsage(f); slices.Contains([]string{"string", "duration", "text"}, value) {
				t.Errorf("%s --%s takes a value that has no name: %s", c.CommandPath(), f.Name, value)
			}
			if !han(f.Usage) {
				t.Errorf("%s --%s is for %q", c.CommandPath(), f.Name, f.Usage)
			}
		})
		if help := c.Flags().Lookup("help"); help.Usage != "显示 "+c.Name()+" 的说明" {
			t.Errorf("%s --help is for %q", c.CommandPath(), help.Usage)
		}
		if strings.Contains(c.UsageString(), "Usage") || !strings.Contains(c.UsageString(), "用法") {
			t.Errorf("%s is used like this:\n%s", c.CommandPath(), c.UsageString())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// TestWrongUsageInChinese: the library's errors too, and the same exit codes.
func TestWrongUsageInChinese(t *testing.T) {
	for args, want := range map[string]string{
		"nonsense":               `usbkeyd: "usbkeyd" 没有命令 "nonsense"；说明见 "usbkeyd --help"`,
		"jobs nonsense":          `usbkeyd: "usbkeyd jobs" 没有命令 "nonsense"；说明见 "usbkeyd jobs --help"`,
		"jobs show":              `usbkeyd: usbkeyd jobs show 需要一个任务编号，见 jobs list`,
		"today --nonsense":       `usbkeyd: 没有选项 --nonsense；说明见 "usbkeyd today --help"`,
		"today -z":               `usbkeyd: -z 中没有选项 'z'；说明见 "usbkeyd today --help"`,
		"today --output":         `usbkeyd: 选项 --output 需要一个值；说明见 "usbkeyd today --help"`,
		"today -o yaml":          `usbkeyd: 选项 "-o, --output" 的值 "yaml" 无效：请用 table 或 json；说明见 "usbkeyd today --help"`,
		"run --log-level loud":   `usbkeyd: 选项 "--log-level" 的值 "loud" 无效：请用 debug、info、warn 或 error；说明见 "usbkeyd run --help"`,
		"pack verify --wait abc": `usbkeyd: 选项 "--wait" 的值 "abc" 无效：请写 30s、2m 这样的时间；说明见 "usbkeyd pack verify --help"`,
		"module qualify":         `usbkeyd: 请用 --module 指明 PKCS#11 库`,
		"central conformance --second s --admin-url u": `usbkeyd: 缺少 --admin-token-file；说明见 "usbkeyd central conformance --help"`,
		"help nonsense":          `usbkeyd: "usbkeyd" 没有命令 "nonsense"；说明见 "usbkeyd --help"`,
		"pack close --by":        `usbkeyd: 选项 --by 需要一个值；说明见 "usbkeyd pack close --help"`,
		"labels print A":         `usbkeyd: --by ""：需要操作人的工号（A-Z、a-z、0-9、. _ @ -，最多 64 个字符）`,
		"mailers print A --by -": `usbkeyd: --by "-"：需要操作人的工号（A-Z、a-z、0-9、. _ @ -，最多 64 个字符）`,
	} {
		var out, errOut strings.Builder
		code := execute(strings.Fields(args), strings.NewReader(""), &out, &errOut, chinese(), notShutIn)
		if code != exitUsage || strings.TrimSpace(errOut.String()) != want {
			t.Errorf("usbkeyd %s: exit code %d\n %s, want\n %s", args, code, errOut.String(), want)
		}
	}
}

// speaksChinese: a station that has done some work tells of it in Chinese, with headings and
// states of the same words as the page; what programs read is the same in every language.
func speaksChinese(t *testing.T, s *station) {
	t.Helper()
	for args, want := range map[string][]string{
		"config check": {"没有问题"}, "tokens list": {"令牌序列号", "已初始化"}, "jobs list": {"任务", "已完成", "示例客车配件有限公司"},
		"orders list": {"订单", "单位"}, "today": {"今日", "其中已超期", "中位数（秒）"}, "audit verify": {"本站保存自第几条起"}, "audit show": {"种类", "步骤"},
		"pack list": {"没有这样的包裹。"}, "mailers list": {"没有用密码信封交付 PIN 码的单元。"}, "labels list": {"现在没有待贴的标签。"}, "stock list": {"还没有登记到货清单。"},
		"journal compact --dry-run": {"清理前字节数"}, "identity show": {"较低等级"}, "doctor": {"如何修复", "正常"},
	} {
		command := strings.Fields(args)
		code, out, errOut := s.commandIn(chinese(), command...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("usbkeyd %s does not say %s (exit code %d):\n%s%s", args, w, code, out, errOut)
			}
		}
		if heading := regexp.MustCompile(`(?m)^[A-Z]{3,}\b.*  [A-Z ]{3,}$`).FindString(out); heading != "" {
			t.Errorf("usbkeyd %s has an English heading: %s", args, heading)
		}
		if args == "config check" || args == "doctor" { // one has no JSON, the other a clock in it
			continue
		}
		_, english, _ := s.command(append(command, "-o", "json")...)
		if _, same, _ := s.commandIn(chinese(), append(command, "-o", "json")...); same != english || han(strings.ReplaceAll(same, "示例客车配件有限公司", "")) {
			t.Errorf("usbkeyd %s -o json is\n%s, in English\n%s", args, same, english)
		}
	}
	var orders []orderRow
	if err := json.Unmarshal([]byte(s.must("orders", "list", "-o", "json")), &orders); err != nil || len(orders) != 1 {
		t.Fatalf("%v: %v", orders, err)
	}
	if _, out, _ := s.commandIn(chinese(), "orders", "show", orders[0].OrderID); !strings.Contains(out, "证书主题") || !strings.Contains(out, "已完成") {
		t.Errorf("orders show says:\n%s", out)
	}
	if code, _, errOut := s.commandIn(chinese(), "jobs", "show", "NONE"); code != exitFailure || errOut != "usbkeyd: 本站没有任务 \"NONE\"；全部任务见 usbkeyd jobs list\n" {
		t.Errorf("jobs show of none: exit code %d: %s", code, errOut)
	}
}

// TestPackingIsSaidInChinese: each sentence that stands under a parcel is in one language, with the
// full stop that is put behind it, and so is what a parcel cannot be closed for.
func TestPackingIsSaidInChinese(t *testing.T) {
	d := packing.Desk{Verify: packing.VerifyAlways, Parcel: packing.Parcel{N: 1, Order: "P-1", Keys: []packing.Key{{Unit: "u-0", Token: "A0"}}}}
	d.Units = []packing.Unit{{ID: "u-0", Sequence: 1, Of: 9, Standing: packing.Ready}}
	for i, standing := range packing.Standings() {
		d.Units = append(d.Units, packing.Unit{ID: fmt.Sprintf("u-%d", i+1), Sequence: i + 2, Of: 11, Standing: standing})
	}
	var out strings.Builder
	if err := sentences(streams{out: &out, words: chinese()}, inEnglish(d.Left())); err != nil {
		t.Fatal(err)
	}
	english := regexp.MustCompile(`[a-z]{2,}`)
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if !strings.HasSuffix(line, "。") || english.MatchString(strings.NewReplacer("usbkeyd jobs list", "", "usbkeyd labels list", "").Replace(line)) {
			t.Errorf("%q", line)
		}
	}
	for _, want := range []string{"第 1 把 / 共 9 把（A0）尚未插入核对：请插入。", "第 10 把 / 共 11 把（u-9）尚未扫描。", "第 2 把 / 共 11 把（u-1）未到过本站", "尚未录入运单号。"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in\n%s", want, out.String())
		}
	}
	if got, want := chinese().Told("The parcel of order P-1 cannot be closed. Key 1 of 9 (A0) is not verified: insert it.\nThe waybill is not entered."),
		"订单 P-1 的包裹还不能封箱。第 1 把 / 共 9 把（A0）尚未插入核对：请插入。\n尚未录入运单号。"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestStationRefusesInChinese: what the daemon answers at its socket is English, and told in the
// language of whoever asked.
func TestStationRefusesInChinese(t *testing.T) {
	for english, want := range map[string]string{
		"This token is not in quarantine.":                                    "本站拒绝：这个令牌不在隔离中。",
		"there is no such code, or what it was for is over: look at the page": "本站拒绝：没有这个代码，或已失效；请看页面。",
		"the code is more than two minutes old: ask again on the page":        "本站拒绝：代码已超过两分钟：请在页面上重新提出",
	} {
		if got := chinese().Told(fmt.Errorf("%w: %s", console.ErrRefused, english).Error()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got, want := chinese().Told(fmt.Sprintf(otherUsbkeyd, "/var/lib/usbkeyd")), "另一个 usbkeyd 正在使用状态目录 /var/lib/usbkeyd：请先停止（usbkeyd service stop）"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestNextStepInChinese: where a command cannot begin, what to do is said, too.
func TestNextStepInChinese(t *testing.T) {
	for _, row := range []struct {
		err  error
		want string
	}{
		{unread("/etc/usbkeyd/station.yaml", fs.ErrNotExist), "没有配置文件 /etc/usbkeyd/station.yaml：请用 --config 文件 指定，或从样例 docs/examples/station.yaml 开始（安装为 /usr/share/doc/usbkeyd/examples/station.yaml）"},
		{unanswered("/run/usbkeyd/console.sock", fs.ErrNotExist), "/run/usbkeyd/console.sock 没有应答：服务是否在运行（usbkeyd service status）、是否设置了 console.port？console.socket 是别的路径时请加 --socket 路径"},
		{errors.New(`--format "doc": token is written as html or pdf`), `--format "doc"：token 的格式只能是 html 或 pdf`},
		{errors.New("/etc/usbkeyd/station.yaml: products[0].tokenLabel: there is no field .Nope; these are: .OrderID, .UnitID"), "/etc/usbkeyd/station.yaml：products[0].tokenLabel：没有字段 .Nope；可用：.OrderID, .UnitID"},
	} {
		if got := chinese().Told(row.err.Error()); got != row.want {
			t.Errorf("%s, want %s", got, row.want)
		}
	}
}

// TestFindingsInChinese: what doctor finds comes from far below, each part from another place.
func TestFindingsInChinese(t *testing.T) {
	for said, want := range map[string]string{
		explainTPM(fmt.Errorf("open a sealed secret with the TPM: %w: %w", identity.ErrPCRs, errors.New("TPM_RC_POLICY_FAIL"))).Error():                                                                                     "用 TPM 打开封存的机密：本机的启动度量（PCR）与封存时不同：TPM_RC_POLICY_FAIL\n  固件或启动设置有变：请改回，或请恢复管理员打开恢复副本并运行 usbkeyd state reseal",
		`nothing was printed: printer letters: exec: "lp": executable file not found in $PATH (Debian: apt-get install cups-client)`:                                                                                        `没有打印：打印机 letters：没有找到程序 "lp"（Debian：apt-get install cups-client）`,
		"nothing was printed: printer letters: it takes no sheets now: it is stopped (cupsenable): out of toner":                                                                                                            "没有打印：打印机 letters：现在不能打印：已停止（cupsenable）：out of toner",
		"nothing was printed: printer letters: CUPS cannot be reached at /run/cups.sock: dial unix /run/cups.sock: connect: no such file or directory":                                                                      "没有打印：打印机 letters：连不上 /run/cups.sock 的 CUPS：没有套接字 /run/cups.sock",
		"pcscd is not running (socket /run/pcscd.comm): dial unix /run/pcscd.comm: connect: connection refused":                                                                                                             "pcscd 没有运行（套接字 /run/pcscd.comm）：套接字 /run/pcscd.comm 没有程序应答",
		`recipient's certificate is not valid now: "CN=a" (SHA-256 00…) ended on 2026-01-01T00:00:00Z`:                                                                                                                      `收件人的证书现在无效："CN=a" (SHA-256 00…) 已于 2026-01-01T00:00:00Z 到期`,
		"journal /j.db was written by a newer usbkeyd (schema 8, this one knows 7); install that version again":                                                                                                             "任务日志 /j.db 是较新的 usbkeyd 写的（格式 8，本程序认识 7）：请重新安装那个版本",
		"bay-01: open module: not a usable PKCS#11 module: /m.so: /m.so can be written by others (mode 0666): run chmod go-w on it":                                                                                         "bay-01：打开模块：不是可用的 PKCS#11 模块：/m.so：/m.so 可被他人写入（权限 0666）：请执行 chmod go-w",
		"https://a: a look at the central server: central server a: its certificate does not stand under central.trust; nothing was sent: tls: failed to verify certificate: x509: certificate signed by unknown authority": "https://a：查看中心服务器：中心服务器 a：它的证书不属于 central.trust；没有发送任何内容：TLS 证书验证失败：证书不是由信任的 CA 签发的",
	} {
		if got := chinese().Told(said); got != want {
			t.Errorf("%q is told as\n%s, want\n%s", said, got, want)
		}
	}
}
