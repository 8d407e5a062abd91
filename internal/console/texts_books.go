package console

// Texts of what is written down: orders, searches, days.

func orderTexts() []text {
	return []text{
		{key: "title.order", zh: "订单", en: "Order"},
		{key: "queue.urgent", zh: "加急", en: "Urgent"},
		{key: "queue.idle", zh: "全部在等待", en: "All of it waits"},
		{key: "order.product", zh: "产品 %s", en: "Product %s"},
		{key: "order.found", zh: "查到的是这一把", en: "This is the one"},
		{key: "order.unknown", zh: "本站没有做过订单 %s：请核对订单号。", en: "This station has had nothing of an order %s: look at the number again."},

		{key: "is.queued", zh: "即将开始", en: "About to begin"},
		{key: "is.running", zh: "制作中", en: "Working"},
		{key: "is.parked", zh: "等待", en: "Waiting"},
		{key: "is.finished", zh: "已完成", en: "Finished"},
		{key: "is.failed", zh: "失败，令牌未写入", en: "Failed; nothing was written"},
		{key: "is.quarantined", zh: "已隔离", en: "Quarantined"},
		{key: "is.elsewhere", zh: "不在本站", en: "Not at this station"},
		{key: "is.blank", zh: "空白，未使用", en: "Blank, not used yet"},
		{key: "is.at-work", zh: "制作中", en: "Working"},
		{key: "is.written", zh: "已写入", en: "Written"},
		{key: "is.refused", zh: "出厂管理员 PIN 码不符", en: "Not opened by its factory SO PIN"},

		{key: "key.unit", zh: "单元编号", en: "Unit"},
		{key: "key.job", zh: "制证任务", en: "Job"},
		{key: "key.token", zh: "令牌序列号", en: "Token serial"},
		{key: "key.casing", zh: "外壳编号", en: "Casing number"},
		{key: "key.certificate", zh: "证书序列号", en: "Certificate serial"},
		{key: "key.subject", zh: "证书主题", en: "Subject"},
		{key: "key.validity", zh: "有效期", en: "Validity"},
		{key: "key.fromto", zh: "%s 至 %s", en: "%s to %s"},
		{key: "key.sha256", zh: "证书摘要（SHA-256）", en: "Certificate SHA-256"},
		{key: "key.public", zh: "公钥摘要（SHA-256）", en: "Public key SHA-256"},
		{key: "key.waybill", zh: "运单号", en: "Waybill"},
		{key: "key.record", zh: "操作记录", en: "Record"},
		{key: "record.signed", zh: "第 %d 条，中心服务器已签名", en: "entry %d, signed by the central server"},
		{key: "record.unsigned", zh: "第 %d 条，中心服务器尚未签名", en: "entry %d, not signed by the central server yet"},

		{key: "history", zh: "经过（最近的在前）", en: "History, the latest first"},
		{key: "history.at", zh: "时间", en: "Time"},
		{key: "history.what", zh: "事项", en: "What"},
		{key: "history.by", zh: "操作员", en: "By"},
		{key: "history.unit", zh: "第 %d 把", en: "key %d"},
		{key: "history.more", zh: "更早的经过未列出，可运行 usbkeyd orders show %s 查看。", en: "What was before is left out; usbkeyd orders show %s has it."},
		{key: "act.claimed", zh: "已领取", en: "Claimed"},
		{key: "act.parked", zh: "等待", en: "Stopped"},
		{key: "act.printed", zh: "打印密码信封", en: "PIN letter printed"},
		{key: "act.confirmed", zh: "确认密码信封完好", en: "PIN letter confirmed"},
		{key: "report.result", zh: "已上报制作结果", en: "Result reported"},
		{key: "report.release", zh: "已退回单元", en: "Unit given back"},
		{key: "report.mailer", zh: "已上报密码信封", en: "PIN letter reported"},
		{key: "report.shipment", zh: "已上报发货", en: "Shipment reported"},
		{key: "packing.opened", zh: "开始装箱", en: "Parcel opened"},
		{key: "packing.scanned", zh: "扫描装箱", en: "Scanned into the parcel"},
		{key: "packing.verified", zh: "插入核对无误", en: "Inserted and verified"},
		{key: "packing.left-out", zh: "不装入本箱", en: "Left out of the parcel"},
		{key: "packing.waybill", zh: "录入运单号", en: "Waybill entered"},
		{key: "packing.undone", zh: "撤销一步", en: "One act undone"},
		{key: "packing.closed", zh: "封箱", en: "Parcel closed"},
	}
}

func searchTexts() []text {
	return []text{
		{key: "title.search", zh: "查找", en: "Search"},
		{key: "search.label", zh: "查找（按 / 键）", en: "Search (key /)"},
		{key: "search.for", zh: "查找：%s", en: "Search: %s"},
		{key: "search.nothing", zh: "没有查到。可查订单号、单元或任务编号、令牌序列号、外壳编号、证书序列号和运单号，也可只输入开头至少 4 个字符。若这个号码在一把钥匙上，说明它不是本站制作的，请单独放置。", en: "Nothing was found. Orders, units, jobs, token serials, casing numbers, certificate serials and waybills can be looked for, also by their first 4 characters or more. If the number is on a key, that key was not made here: put it aside."},
		{key: "search.nocode", zh: "这不是可以查找的号码：请重新扫描或输入。", en: "This is no number that can be looked for: scan or type it again."},
		{key: "search.count", zh: "查到 %d 项。", en: "%d were found.", one: "%d was found."},
		{key: "search.many", zh: "查到的太多，只列出 %d 项：请输入更多字符。", en: "There are too many; %d are listed. Type more of the number."},
		{key: "search.caption", zh: "查到的单元和令牌", en: "Units and tokens that were found"},
		{key: "search.by", zh: "号码是", en: "The number is"},
		{key: "search.order", zh: "订单", en: "Order"},
		{key: "by.order", zh: "订单号", en: "an order"},
		{key: "by.unit", zh: "单元编号", en: "a unit"},
		{key: "by.job", zh: "任务编号", en: "a job"},
		{key: "by.token", zh: "令牌序列号", en: "a token serial"},
		{key: "by.casing", zh: "外壳编号", en: "a casing number"},
		{key: "by.certificate", zh: "证书序列号", en: "a certificate serial"},
		{key: "by.waybill", zh: "运单号", en: "a waybill"},
	}
}

func todayTexts() []text {
	return []text{
		{key: "title.today", zh: "今日", en: "Today"},
		{key: "today.of", zh: "今日 %s", en: "Today, %s"},
		{key: "today.none", zh: "今天还没有做完的任务。", en: "No job has ended today."},
		{key: "today.done", zh: "已完成 %d 把", en: "%d keys finished", one: "%d key finished"},
		{key: "today.failed", zh: "失败 %d 把", en: "%d failed"},
		{key: "today.quarantined", zh: "隔离 %d 把", en: "%d quarantined"},
		{key: "today.hours", zh: "每小时", en: "By hour"},
		{key: "today.hour", zh: "起始时间", en: "From"},
		{key: "today.bays", zh: "各槽位（最慢的在前）", en: "By bay, the slowest first"},
		{key: "today.bad", zh: "失败或隔离", en: "Failed or quarantined"},
		{key: "today.median", zh: "每把用时（中位数）", en: "Time for a key (median)"},
		{key: "today.slowest", zh: "最慢", en: "slowest"},
		{key: "left", zh: "留给下一班", en: "Left for the next shift"},
		{key: "left.units", zh: "未完成", en: "Not finished"},
		{key: "left.of", zh: "%d 把，%d 个订单", en: "%d keys of %d orders"},
		{key: "left.waiting", zh: "其中等待人工处理", en: "Of them wait for a person"},
		{key: "left.late", zh: "其中已超期", en: "Of them late"},
		{key: "left.unsent", zh: "已完成但未发出", en: "Finished and not sent"},
	}
}
