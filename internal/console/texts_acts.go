package console

// actTexts are those of what is asked for again. Each Act.What has its "act." text, each No
// its "no." text, wherever in this program they come from.
func actTexts() []text {
	return []text{
		{key: "acting.open", zh: "尚未执行：等待确认。", en: "Not done yet: it waits to be confirmed."},
		{key: "acting.doing", zh: "正在执行……", en: "Being done …"},
		{key: "acting.done", zh: "已完成。", en: "Done."},
		{key: "acting.failed", zh: "未完成。", en: "Not done."},
		{key: "acting.expired", zh: "已过期，没有执行。", en: "Too late: nothing was done."},
		{key: "acting.cancelled", zh: "已取消，没有执行。", en: "Cancelled: nothing was done."},
		{key: "acting.changed", zh: "情况已变，没有执行：请重新查看后再试。", en: "Things have changed, so nothing was done: look again, then ask again."},
		{key: "acting.void", zh: "错误应答过多，已作废，没有执行。", en: "Too many wrong answers: nothing was done."},
		{key: "act-confirm", zh: "请在您自己的系统账户下运行：", en: "Under your own account of this machine, run:"},
		{key: "act-approve", zh: "另须一位同事核准，请其在自己的系统账户下运行：", en: "A second person has to approve. Under their own account they run:"},
		{key: "act-approved", zh: "核准人：%s", en: "Approved by %s"},
		{key: "act-left", zh: "%d 秒内有效", en: "good for %d seconds"},
		{key: "act-cancel", zh: "取消", en: "Cancel"},
	}
}
