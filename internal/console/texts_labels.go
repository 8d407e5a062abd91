package console

// labelTexts are those about the labels of finished tokens.
func labelTexts() []text {
	return []text{
		{key: "bay.labelling", zh: "正在打印标签", en: "Label is printed"},
		{key: "bay.label", zh: "贴标签", en: "Stick the label on"},
		{key: "bay.mixed", zh: "令牌混淆", en: "Mixed up"},
		{key: "todo.labelling", zh: "标签正在打印。下一步：拿好刚取出的令牌，先不要取下一把。", en: "The label is being printed. Next: keep the token in your hand, and take no other out."},
		{key: "todo.label", zh: "下一步：把标签贴在刚取出的令牌上，再扫描标签；扫描之前不要取下一把。", en: "Next: stick the label on the token that you took out, then scan it. Take no other out before."},
		{key: "todo.mixed", zh: "标签贴好之前又取出了别的令牌，无法分辨。下一步：把取出的令牌都插回槽位核对，再一把一把地取。", en: "Another token was taken out before this one had its label. Next: put all of them back to be verified, then take them out one at a time."},
		{key: "alarm.labels-mixed", zh: "标签贴好之前又取出了别的令牌，无法分辨哪一把是哪一把。", en: "More than one finished token was taken out before its label was stuck on, and nobody can tell them apart."},
		{key: "todo.labels-mixed", zh: "下一步：把取出的令牌都插回槽位，核对后再一把一把地取。", en: "Next: put all of them back into their bays, and take them out one at a time."},
		{key: "alarm.label-not-printed", zh: "刚取出的令牌的标签打印不出来。", en: "The label of the token that was taken out cannot be printed."},
		{key: "todo.label-not-printed", zh: "下一步：检查标签打印机（纸、开关、连线）；恢复后会自动打印。在此之前不要取下一把。", en: "Next: see to the label printer (paper, power, cable); the label is printed by itself then. Take no other token out before."},

		{key: "label.act.confirm", zh: "标签已贴好", en: "The label is stuck on"},
		{key: "labels.order", zh: "打印本订单已完成令牌的标签（%d 张）", en: "Print the labels of its finished tokens (%d)"},
		{key: "label.act.print", zh: "重新打印标签", en: "Print the label again"},
		{key: "label.printed", zh: "标签已送到打印机。多余的标签请销毁。", en: "The label was handed to the printer. Destroy the one that is not stuck on."},
		{key: "label.stuck", zh: "标签已贴好，可以取下一把。", en: "The label is stuck on: the next token may be taken out."},
		{key: "label.no-printer", zh: "本站没有配置标签打印机。", en: "This station has no label printer."},
		{key: "label.not-sent", zh: "标签没有打印。下一步：检查标签打印机，再试一次。", en: "No label was printed. Next: see to the label printer and try again."},
		{key: "label.no-key", zh: "本站没有这个令牌序列号的已完成令牌。", en: "No finished key of this station has this token serial."},
		{key: "label.wrong", zh: "标签不对：应扫描的是刚取出的令牌的标签。下一步：核对令牌和标签。", en: "Wrong label: that of the token that was taken out is waited for. Next: compare token and label."},
		{key: "label.unprinted", zh: "标签还没有打印出来，请稍候。", en: "The label is not printed yet: wait for it."},
		{key: "label.unseen", zh: "标签打印之后，还没有查看过其他槽位。请不要取出别的令牌，稍候再扫描一次。", en: "The other bays have not been looked at since the label was printed. Take no other token out, and scan it again in a moment."},
		{key: "label.mixed", zh: "取出的令牌不止一把。下一步：把它们都插回槽位，再一把一把地取。", en: "More than one token was taken out. Next: put all of them back into their bays, and take them out one at a time."},
		{key: "label.in-bay", zh: "这个令牌还在槽位中。下一步：先取出令牌。", en: "This token is in its bay. Next: take it out first."},
		{key: "label.unknown", zh: "现在没有待贴的标签。", en: "No label is waited for."},
		{key: "label.failed", zh: "没有记录成功。下一步：请查看“工作站”页面，再试一次。", en: "It could not be written down. Next: see the screen Station, and try again."},
	}
}
