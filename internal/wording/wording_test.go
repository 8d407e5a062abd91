package wording

import (
	"strings"
	"testing"
)

func TestForTheLocale(t *testing.T) {
	for _, row := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "zh_CN.UTF-8"}, true},
		{map[string]string{"LANG": "zh_TW"}, true},
		{map[string]string{"LANG": "en_GB.UTF-8"}, false},
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "C"}, false},
		{map[string]string{"LANG": "C.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, true},
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8", "LC_ALL": "POSIX"}, false},
		{map[string]string{"LANG": "C", "LC_ALL": "zh_CN.UTF-8"}, true},
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, true},
	} {
		if got := For(func(name string) string { return row.env[name] }).IsChinese(); got != row.want {
			t.Errorf("%v: Chinese is %t", row.env, got)
		}
	}
}

// TestTold: what comes from below is recognised whole, filled, behind a chain and line by line.
func TestTold(t *testing.T) {
	words := Chinese(map[string]string{"step.wipe": "擦除令牌", "step.": "还没有步骤", "Put the token back.": "请把令牌插回。", "%s is in the parcel (%d of %d keys).": "%s 已装入包裹（%[3]d 把中的第 %[2]d 把）。"})
	for english, want := range map[string]string{
		"Put the token back.":                "请把令牌插回。",
		"A1 is in the parcel (2 of 3 keys).": "A1 已装入包裹（3 把中的第 2 把）。",
		"module bay-01: something odd":       "模块 bay-01：something odd",
		"token serial \"A1\": the token is not on the list of delivered tokens. Put the token back.": "令牌序列号 \"A1\"：令牌不在到货清单上。请把令牌插回。",
		"station.yaml: the order was cancelled":                                                      "station.yaml：订单已取消",
		"state folder: open /x: permission denied":                                                   "状态目录：无法打开 /x：没有权限",
		"state folder: mkdir /x: permission denied":                                                  "状态目录：mkdir /x: permission denied",
		"nothing was done\nEOF":                                                                      "没有执行\nEOF",
		"  nothing was done":                                                                         "  没有执行",
		"open /x: permission denied":                                                                 "无法打开 /x：没有权限",
		"/a.yaml: station: 1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -, are wanted": "/a.yaml：station：应为 1 至 63 个字符，只能用 a-z、0-9 和 -，首尾不能是 -",
		"/a.yaml: labels.patience: 0s is not between 5s and 10m0s":                                     "/a.yaml：labels.patience：0s 不在 5s 至 10m0s 之间",
		"示例客车配件有限公司":                                                                                   "示例客车配件有限公司",
		"100%":                                                                                         "100%",
		"The token is not blank.":                                                                      "The token is not blank.",
		"the token is not blank.":                                                                      "令牌不是空白的。",
		"this station has had nothing of an order \"X\"; usbkeyd orders list shows all.": "本站没有做过订单 \"X\"；全部订单见 usbkeyd orders list。",
		"/x: the token is not blank: CKR_ODD: 7":                                         "/x：令牌不是空白的：CKR_ODD：7",
		"Odd: CKR_ODD: 7":                                                                "Odd: CKR_ODD: 7",
		"something odd; see usbkeyd jobs list":                                           "something odd; see usbkeyd jobs list",
		"module bay-01: the token is not blank.":                                         "模块 bay-01：令牌不是空白的。",
		"":                                                                               "",
	} {
		if got := words.Told(english); got != want {
			t.Errorf("%q is told as %q, want %q", english, got, want)
		}
		if got := (Words{}).Told(english); got != english {
			t.Errorf("in English %q is told as %q", english, got)
		}
	}
	if got := words.Name("step", "wipe") + words.Name("step", "unheard-of") + words.Name("step", ""); got != "擦除令牌unheard-of" {
		t.Errorf("steps are called %s", got)
	}
}

// FuzzTold: whatever comes from below, nothing is lost of what is not recognised.
func FuzzTold(f *testing.F) {
	for _, s := range []string{"unit A: nothing was printed: B", "%s %d: %w", "\n\n: : ", "a; see \"b\""} {
		f.Add(s)
	}
	words := Chinese()
	f.Fuzz(func(t *testing.T, s string) {
		if got := words.Told(s); strings.Count(got, "\n") != strings.Count(s, "\n") && words.chinese[s] == "" {
			t.Errorf("%q is told as %q", s, got)
		}
	})
}
