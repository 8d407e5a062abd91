package console

import (
	"slices"
	"strings"
)

// texts are all that the page can say, in every language. Those of states, roles, waits,
// steps, alarms and hints are named after what they are about.
func texts() []text {
	out := slices.Concat(
		ownTexts(), stateTexts(), actTexts(),
		orderTexts(), searchTexts(), todayTexts(),
		packingTexts(), mailerTexts(),
		quarantineTexts(), stockTexts(), teachTexts(), labelTexts(),
	)
	for _, h := range hintTexts() {
		h.key = "hint:" + h.en
		out = append(out, h)
	}
	return out
}

// Chinese are the texts that the command line has in common with the page: the daemon's own
// sentences by their English ones, and the names of states, steps and the like by their keys.
func Chinese() map[string]string {
	out := map[string]string{}
	for _, t := range texts() {
		if family, english, ok := strings.Cut(t.key, ":"); ok && (family == "hint" || family == "say") {
			out[english] = t.zh
			continue
		}
		if strings.HasPrefix(t.key, "no.") { // the socket answers with it in English
			out[t.en] = t.zh
		}
		if strings.Contains(t.key, ".") {
			out[t.key] = t.zh
		}
	}
	return out
}

func ownTexts() []text {
	return []text{
		{key: "title.bays", zh: "槽位", en: "Bays"},
		{key: "title.queue", zh: "任务队列", en: "Queue"},
		{key: "title.station", zh: "工作站", en: "Station"},
		{key: "nav", zh: "页面", en: "Screens"},
		{key: "languages", zh: "语言", en: "Language"},
		{key: "lock", zh: "锁定", en: "Lock"},
		{key: "person", zh: "操作员：%s", en: "Operator: %s"},

		{key: "tally.working", zh: "制作中 %d", en: "%d working"},
		{key: "tally.attention", zh: "需处理 %d", en: "%d to look at"},
		{key: "tally.done", zh: "已完成 %d", en: "%d finished"},
		{key: "tally.free", zh: "空闲 %d", en: "%d free"},
		{key: "tally.label", zh: "各状态的槽位数", en: "Bays by state"},
		{key: "bays.none", zh: "没有可显示的槽位：请检查配置中的模块。", en: "No bay can be shown: look at the modules in the configuration."},

		{key: "order", zh: "订单 %s", en: "Order %s"},
		{key: "unit", zh: "第 %d 把 / 共 %d 把", en: "key %d of %d"},
		{key: "token", zh: "令牌 %s", en: "Token %s"},
		{key: "progress", zh: "进度", en: "Progress"},
		{key: "took", zh: "已用", en: "for"},
		{key: "whole", zh: "总用时", en: "Altogether"},
		{key: "usually", zh: "通常 %s", en: "usually %s"},
		{key: "cause", zh: "原因", en: "Cause"},
		{key: "next", zh: "下一步：", en: "Next: "},

		{key: "queue.none", zh: "没有任务：所有已领取的任务都已完成。", en: "Nothing is waiting: all that was claimed is done."},
		{key: "queue.caption", zh: "本站未完成的单元", en: "Keys that this station has not finished"},
		{key: "queue.done", zh: "已完成 %d / %d 把", en: "%d of %d keys done"},
		{key: "queue.due", zh: "截止 %s", en: "due %s"},
		{key: "queue.late", zh: "已超期", en: "Late"},
		{key: "queue.soon", zh: "24 小时内到期", en: "Due within 24 hours"},
		{key: "queue.held", zh: "等待人工处理", en: "Waits for a person"},
		{key: "queue.unit", zh: "单元", en: "Unit"},
		{key: "queue.bay", zh: "槽位", en: "Bay"},
		{key: "queue.state", zh: "状态", en: "State"},
		{key: "late.minutes", zh: "超期 %d 分钟", en: "%d minutes late", one: "%d minute late"},
		{key: "late.hours", zh: "超期 %d 小时", en: "%d hours late", one: "%d hour late"},
		{key: "late.days", zh: "超期 %d 天", en: "%d days late", one: "%d day late"},

		{key: "station.name", zh: "名称", en: "Name"},
		{key: "station.version", zh: "版本", en: "Version"},
		{key: "station.since", zh: "启动时间", en: "Running since"},
		{key: "station.identity", zh: "工作站密钥", en: "Station key"},
		{key: "tier.tpm", zh: "在 TPM 中", en: "in the TPM"},
		{key: "tier.file", zh: "在文件中（较低等级）", en: "in a file (the lower tier)"},
		{key: "station.server", zh: "中心服务器", en: "Central server"},
		{key: "station.session", zh: "会话", en: "Session"},
		{key: "session.none", zh: "尚未建立", en: "none yet"},
		{key: "station.answered", zh: "最近应答", en: "Last answer"},
		{key: "answered.never", zh: "从未应答", en: "never"},
		{key: "station.work", zh: "派发任务", en: "New work"},
		{key: "work.on", zh: "正常", en: "comes in"},
		{key: "work.drain", zh: "服务器已停止派发", en: "the server gives none: it drains this station"},
		{key: "work.ending", zh: "完成后退出", en: "the daemon ends when none is left"},
		{key: "station.reports", zh: "待上报", en: "Reports not delivered"},
		{key: "station.clock", zh: "时钟", en: "Clock"},
		{key: "clock.unknown", zh: "尚无服务器时间可比较", en: "no time of the server's to compare with yet"},
		{key: "clock.right", zh: "与服务器一致", en: "agrees with the server's"},
		{key: "clock.behind", zh: "比服务器慢 %d 秒：请校准本机时间", en: "%d seconds behind the server's: set this machine's clock", one: "%d second behind the server's: set this machine's clock"},
		{key: "clock.ahead", zh: "比服务器快 %d 秒：请校准本机时间", en: "%d seconds ahead of the server's: set this machine's clock", one: "%d second ahead of the server's: set this machine's clock"},
		{key: "station.disk", zh: "磁盘剩余", en: "Disk space left"},
		{key: "disk.mb", zh: "%d MB", en: "%d MB"},
		{key: "disk.unknown", zh: "未知", en: "not known"},
		{key: "station.modules", zh: "PKCS#11 模块", en: "PKCS#11 modules"},
		{key: "module.name", zh: "模块", en: "Module"},
		{key: "module.path", zh: "文件", en: "File"},
		{key: "module.tokens", zh: "令牌上限", en: "Tokens at most"},
		{key: "module.state", zh: "状态", en: "State"},
		{key: "module.works", zh: "正常，%s 查看", en: "works, looked at %s"},
		{key: "module.unseen", zh: "尚未查看", en: "not looked at yet"},
		{key: "module.fails", zh: "无法读取", en: "cannot be read"},
		{key: "alarm", zh: "报警", en: "Alarm"},
		{key: "alarm.since", zh: "自 %s", en: "since %s"},
	}
}

func stateTexts() []text {
	return []text{
		{key: "bay.unread", zh: "无法读取", en: "Not readable"},
		{key: "bay.empty", zh: "空槽", en: "Empty"},
		{key: "bay.blank", zh: "待制作", en: "Ready"},
		{key: "bay.working", zh: "制作中", en: "Working"},
		{key: "bay.waiting", zh: "等待", en: "Waiting"},
		{key: "bay.done", zh: "已完成", en: "Finished"},
		{key: "bay.failed", zh: "失败", en: "Failed"},
		{key: "bay.quarantined", zh: "已隔离", en: "Quarantined"},
		{key: "bay.used", zh: "已用过", en: "Used"},
		{key: "bay.refused", zh: "不可制作", en: "Refused"},
		{key: "bay.unknown", zh: "型号未知", en: "Unknown model"},
		{key: "bay.unlisted", zh: "未登记", en: "Not in stock"},

		{key: "todo.unread", zh: "读不到这个槽位的模块。下一步：请查看“工作站”页面。", en: "The module of this bay cannot be read. Next: see the screen Station."},
		{key: "todo.empty", zh: "下一步：插入空白令牌。", en: "Next: insert a blank token."},
		{key: "todo.blank", zh: "空白令牌已就绪，有任务时自动开始。", en: "A blank token is ready and begins when there is work."},
		{key: "todo.working", zh: "请勿拔出。", en: "Do not pull it out."},
		{key: "todo.waiting", zh: "任务在等待。", en: "The job waits."},
		{key: "todo.done", zh: "下一步：取出令牌，准备装箱。", en: "Next: take the token out for packing."},
		{key: "todo.failed", zh: "没有写入令牌。", en: "Nothing was written to the token."},
		{key: "todo.quarantined", zh: "这个令牌不得发货，也不得再用。", en: "This token must not be shipped or used again."},
		{key: "todo.used", zh: "这个令牌以前写过。下一步：取出，换一个空白令牌。", en: "This token was written before. Next: take it out and insert a blank one."},
		{key: "todo.refused", zh: "这个令牌不会再写。下一步：取出，单独放置。", en: "This token is not written again. Next: take it out and put it aside."},
		{key: "todo.unknown", zh: "没有适合这个型号的令牌配置。下一步：取出，换一个型号。", en: "No token profile fits this model. Next: take it out and use another model."},
		{key: "todo.unlisted", zh: "这个令牌不在到货清单上，不会写入。下一步：取出；若确已到货，请先登记到货清单。", en: "This token is on no list of delivered tokens and is not written. Next: take it out, or take its delivery into stock first."},

		{key: "wait.", zh: "等待继续", en: "Waits to go on"},
		{key: "wait.network", zh: "等待中心服务器", en: "Waits for the central server"},
		{key: "wait.token", zh: "等待令牌", en: "Waits for the token"},
		{key: "wait.lease", zh: "等待重新领取", en: "Waits for its lease"},
		{key: "wait.person", zh: "等待人工处理", en: "Waits for a person"},
		{key: "wait.station", zh: "等待工作站恢复", en: "Waits for the station"},

		{key: "step.identify", zh: "识别令牌", en: "Identify the token"},
		{key: "step.check-blank", zh: "检查是否空白", en: "Check that it is blank"},
		{key: "step.prepare", zh: "准备", en: "Prepare"},
		{key: "step.escrow-so-pin", zh: "托管管理员 PIN 码", en: "Escrow the SO PIN"},
		{key: "step.initialise", zh: "初始化令牌", en: "Initialise the token"},
		{key: "step.set-so-pin", zh: "设置管理员 PIN 码", en: "Set the SO PIN"},
		{key: "step.name-escrow", zh: "登记托管", en: "Name the escrow"},
		{key: "step.set-user-pin", zh: "设置用户 PIN 码", en: "Set the user PIN"},
		{key: "step.generate-key", zh: "生成密钥对", en: "Generate the key pair"},
		{key: "step.check-key", zh: "检查密钥质量", en: "Check the key"},
		{key: "step.build-csr", zh: "生成证书请求", en: "Build the request"},
		{key: "step.bind-csr", zh: "提交证书请求", en: "Send the request"},
		{key: "step.collect-certificate", zh: "等待用户证书", en: "Collect the certificate"},
		{key: "step.check-certificate", zh: "核对用户证书", en: "Check the certificate"},
		{key: "step.install-certificate", zh: "写入证书", en: "Install the certificate"},
		{key: "step.read-back", zh: "读回核对", en: "Read back and prove"},
		{key: "step.set-first-pin", zh: "设置首次 PIN 码", en: "Set the first PIN"},
		{key: "step.finish", zh: "完成", en: "Finish"},
		{key: "step.wipe", zh: "擦除令牌", en: "Wipe the token"},
		{key: "step.prove-wiped", zh: "确认已擦除", en: "Prove that it is wiped"},

		{key: "role.writer", zh: "制证", en: "writer"},
		{key: "role.packer", zh: "装箱", en: "packer"},
		{key: "role.mailer", zh: "密码信封", en: "mailers"},
		{key: "role.supervisor", zh: "主管", en: "supervisor"},
		{key: "role.auditor", zh: "审计", en: "auditor"},

		{key: "alarm.pcscd-not-running", zh: "读卡服务 pcscd 没有运行。", en: "The reader service pcscd is not running."},
		{key: "alarm.pcscd-stuck", zh: "读卡服务 pcscd 没有反应。", en: "The reader service pcscd does not answer."},
		{key: "alarm.pcscd-refuses", zh: "读卡服务 pcscd 拒绝本程序访问。", en: "The reader service pcscd refuses this program."},
		{key: "alarm.pcscd-unknown", zh: "读卡服务 pcscd 的应答无法识别。", en: "What answers as the reader service pcscd is something else."},
		{key: "alarm.place-fails", zh: "同一槽位的令牌连续失败，暂停使用该槽位。", en: "Tokens failed one after another in one slot, which rests."},
		{key: "alarm.record-broken", zh: "本站的操作记录已损坏或被改动，停止领取任务。", en: "This station's record is damaged or was changed; no work is claimed."},
		{key: "todo.pcscd-not-running", zh: "下一步：启动读卡服务（systemctl restart pcscd）。令牌没有问题，请保持插入。", en: "Next: start it (systemctl restart pcscd). The tokens are not at fault: leave them plugged in."},
		{key: "todo.pcscd-stuck", zh: "下一步：重启读卡服务（systemctl restart pcscd）。令牌没有问题，请保持插入。", en: "Next: restart it (systemctl restart pcscd). The tokens are not at fault: leave them plugged in."},
		{key: "todo.pcscd-refuses", zh: "下一步：授予访问权限（polkit），或重启读卡服务。令牌没有问题，请保持插入。", en: "Next: let this program use it (polkit), or restart it. The tokens are not at fault: leave them plugged in."},
		{key: "todo.pcscd-unknown", zh: "下一步：查明是什么占用了套接字，再重启读卡服务。令牌没有问题，请保持插入。", en: "Next: see what has its socket, then restart it. The tokens are not at fault: leave them plugged in."},
		{key: "todo.place-fails", zh: "下一步：检查读卡器、连线和这批令牌。过一会儿会自动再试。", en: "Next: check the reader, its cable and the lot of tokens. It is tried again by itself after a while."},
		{key: "todo.record-broken", zh: "下一步：不要动状态目录，请联系本站负责人。", en: "Next: leave the state folder as it is and call whoever answers for this station."},
	}
}

// TextKeys are the keys of all texts, so that who feeds the page can see that it has words
// for what it is fed.
func TextKeys() []string {
	var out []string
	for _, t := range texts() {
		out = append(out, t.key)
	}
	return out
}
