package console

// mailerTexts are those of the screen of PIN mailers, and what is said of a letter.
func mailerTexts() []text {
	out := []text{
		{key: "title.mailers", zh: "密码信封", en: "PIN mailers"},
		{key: "mailers.none", zh: "没有需要打印的密码信封。", en: "No letter is to be printed."},
		{key: "mail.busy", zh: "正在打印 %s 的密码信封，请在打印机旁等待……", en: "The letter of %s is being printed: wait beside the printer …"},
		{key: "mail.caption", zh: "按槽位顺序", en: "In the order of the bays"},
		{key: "mail.done", zh: "已确认 %d / %d 封", en: "%d of %d letters confirmed"},
		{key: "mail.sheet", zh: "信件内容", en: "Letter"},
		{key: "mail.preview", zh: "预览（PIN 码已遮盖）", en: "Preview (PIN masked)"},
		{key: "mail.masked", zh: "PIN 码：••••••••", en: "PIN: ••••••••"},
		{key: "mail.printedBy", zh: "%s 打印，第 %d 张", en: "printed by %s, sheet %d"},
		{key: "mail.confirmedBy", zh: "%s 确认", en: "confirmed by %s"},
		{key: "mail.refused", zh: "服务器拒绝", en: "The server refuses it"},
		{key: "mail.print", zh: "打印", en: "Print"},
		{key: "mail.printOrder", zh: "打印本订单可打印的密码信封（%d 封）", en: "Print the %d letters of this order that may be printed", one: "Print the letter of this order that may be printed (%d)"},
		{key: "mail.printed", zh: "已打印 %d / %d 封：", en: "%d of %d letters printed:"},
		{key: "act.print", zh: "打印 %s 的密码信封", en: "Print the letter of %s"},
		{key: "act.print-order", zh: "打印订单 %s 可打印的密码信封", en: "Print the letters of order %s that may be printed"},
		{key: "act.reprint", zh: "为 %s 换新 PIN 码并重印密码信封", en: "Give %s another PIN and print its letter anew"},
		{key: "no.no-letter", zh: "没有可以这样打印的密码信封：请再看一下。", en: "No letter may be printed that way: look at it again."},
		{key: "no.printer-busy", zh: "正在打印另一封：请稍候，再请求一次。", en: "Another letter is being printed: wait, then ask again."},
		{key: "no.letter-stopped", zh: "在一封信处停下：页面上有说明，其余的没有打印。", en: "It stopped at a letter, as the page says; those after it were not printed."},
		{key: "mail.confirm", zh: "已拿到，完整清晰", en: "In my hand, whole and readable"},
		{key: "mail.reprint", zh: "换新 PIN 码重印", en: "Print anew with another PIN"},

		{key: "letter.early", zh: "等待中心服务器", en: "Waits for the central server"},
		{key: "letter.ready", zh: "待打印", en: "To be printed"},
		{key: "letter.unknown", zh: "打印结果未知", en: "Outcome unknown"},
		{key: "letter.printed", zh: "已打印，待确认", en: "Printed, to be confirmed"},
		{key: "letter.confirmed", zh: "已完成", en: "Done"},
		{key: "letter.setting", zh: "换 PIN 码中断，请重印", en: "A new PIN was cut off: print anew"},

		{key: "outcome.completed", zh: "打印机说已完成：请看纸张是否完整清晰", en: "The printer says that it is done: look whether the sheet is whole and readable"},
		{key: "outcome.given-up", zh: "打印失败（如卡纸）：请找出残页并销毁", en: "The printer gave up, as after a jam: find what is there and destroy it"},
		{key: "outcome.cancelled", zh: "打印被取消：请找出残页并销毁", en: "It was cancelled: find what is there and destroy it"},
		{key: "outcome.too-late", zh: "打印机没有按时完成：请找出残页并销毁", en: "The printer did not finish in time: find what is there and destroy it"},
		{key: "outcome.no-paper", zh: "打印机缺纸，打印已取消：请加纸，找出残页并销毁", en: "The printer is out of paper, and the sheet was cancelled: fill it up, find what is there and destroy it"},
		{key: "outcome.lost", zh: "不知道打印情况：请查看打印机，销毁残页", en: "Nothing is known of the sheet: look at the printer and destroy what is there"},
	}
	for _, s := range mailerSentences() {
		s.key = "say:" + s.en
		out = append(out, s)
	}
	return out
}

// mailerSentences are what is said of an act, in English and in Chinese.
func mailerSentences() []text {
	return []text{
		{en: "The sheet of %s was handed to the printer. With it in your hand, whole and readable, confirm it; otherwise print it anew with another PIN.", zh: "%s 的密码信封已送到打印机。拿到纸张且完整清晰时请确认，否则请换新 PIN 码重印。"},
		{en: "The letter of %s is confirmed by %s, who must not pack its token.", zh: "%s 的密码信封由 %s 确认；此人不得为该令牌装箱。"},
		{en: "The letter of %s may be on paper already: confirm it, or print it anew with another PIN.", zh: "%s 的密码信封可能已经打印：请确认，或换新 PIN 码重印。"},
		{en: "Nothing was printed of the letter of %s yet.", zh: "%s 的密码信封还没有打印。"},
		{en: "%s has packed the token of %s, and must not have its letter in the hand: somebody else has to.", zh: "%s 为 %s 装过箱，不得经手它的密码信封，必须由另一人处理。"},
		{en: "The central server has not taken %s as installed yet.", zh: "中心服务器尚未接受 %s。"},
		{en: "The PIN of %s does not go by mailer from here.", zh: "%s 的 PIN 码不由本站打印信封。"},
		{en: "Somebody else has done something to the letter of %s just now: look at it again.", zh: "%s 的密码信封刚被别人处理过：请再看一下。"},
		{en: "Somebody else prints or confirms a letter just now: wait a moment.", zh: "另一人正在打印或确认密码信封：请稍候。"},
		{en: "The printer is stopped or takes no sheets; nothing was printed. Look at the printer (paper, cover, jam), then have it enabled again.", zh: "打印机已停止或不接受打印，没有打印任何内容。请检查打印机（缺纸、盖子、卡纸），恢复后再打印。"},
		{en: "The printer cannot be used; nothing was printed. Tell whoever answers for this station.", zh: "打印机无法使用，没有打印任何内容。请告诉本站负责人。"},
		{en: "Plug in the token %s of %s, which is to get another PIN.", zh: "请插入令牌 %s（%s），它要换新的 PIN 码。"},
		{en: "The letter of %s cannot be printed: a character is missing in the font, or something does not fit.", zh: "%s 的密码信封无法打印：字体缺字，或内容放不下。"},
		{en: "This station prints no letters.", zh: "本站不打印密码信封。"},
		{en: "The letter of %s was not printed.", zh: "%s 的密码信封没有打印。"},
	}
}
