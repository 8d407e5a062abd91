package console

// packingTexts are those of the packing screen, and what the packing table says.
func packingTexts() []text {
	out := []text{
		{key: "title.packing", zh: "装箱", en: "Packing"},

		{key: "pack.stop", zh: "停！请先放下手中的钥匙", en: "Stop: put this key down"},
		{key: "pack.tries", zh: "确认前又扫了 %d 次，均未接受。", en: "Scanned %d times since; nothing was taken.", one: "Scanned %d time since; nothing was taken."},
		{key: "pack.acknowledge", zh: "已放到一边，继续", en: "It is put aside: go on"},
		{key: "act.failed", zh: "没有完成：工作站出错或没有应答。请再试一次；仍不行请联系本站负责人。", en: "This was not done: the station has an error or does not answer. Try again; if it stays so, call whoever answers for this station."},

		{key: "pack.scanner", zh: "扫描", en: "Scanner"},
		{key: "pack.begin", zh: "扫描订单条码，打开包裹。", en: "Scan an order's barcode to open its parcel."},
		{key: "pack.scan", zh: "逐把扫描令牌标签，最后扫描运单。", en: "Scan the label of each key, and the waybill last."},
		{key: "pack.look", zh: "您的角色只能查看。", en: "Your role may only look."},
		{key: "pack.code", zh: "手工输入（订单号、令牌序列号或运单号）", en: "By hand (order, token serial or waybill)"},
		{key: "pack.enter", zh: "输入", en: "Enter"},
		{key: "scan.illegible", zh: "扫到的内容不是完整的订单号、令牌序列号或运单号，没有接受。请切换到英文输入法后重扫；扫描枪应只发送条码和一个回车。", en: "What was scanned is no whole order number, token serial or waybill, and was not taken. Switch the input method off and scan again; a scanner sends the code and one Enter, nothing else."},
		{key: "scan.unfinished", zh: "扫描枪没有发送回车，内容没有接受。请把扫描枪的后缀设为回车，再重扫。", en: "The scanner sent no Enter, and nothing was taken. Set its suffix to Enter and scan again."},
		{key: "scan.silent", zh: "已有一分钟没有扫到内容。扫描枪没有反应时：听是否有提示音，检查连线和是否为键盘模式；也可以在上面手工输入。", en: "Nothing was scanned for a minute. If the scanner is silent: does it beep, is it plugged in, is it in keyboard mode? Codes can be typed in above as well."},

		{key: "pack.parcel", zh: "打开的包裹", en: "Open parcel"},
		{key: "pack.freight", zh: "运费：顺丰到付", en: "Freight: collect (SF, paid by the recipient)"},
		{key: "pack.waybill", zh: "运单号 %s", en: "waybill %s"},
		{key: "pack.noWaybill", zh: "尚无运单号", en: "no waybill yet"},
		{key: "pack.keys", zh: "订单中的钥匙", en: "Keys of the order"},
		{key: "pack.token", zh: "令牌序列号", en: "Token serial"},
		{key: "pack.do", zh: "操作", en: "Act"},
		{key: "pack.in", zh: "已装入（%s 扫描）", en: "in the parcel (scanned by %s)"},
		{key: "pack.verified", zh: "已插入核对", en: "verified at the chip"},
		{key: "pack.unverified", zh: "待插入核对", en: "to be inserted and verified"},
		{key: "pack.leftOut", zh: "不在本包裹内", en: "left out"},
		{key: "pack.insert", zh: "插入核对", en: "Insert to verify"},
		{key: "pack.takeOut", zh: "取出", en: "Take out"},
		{key: "pack.undo", zh: "撤销", en: "Undo"},
		{key: "pack.leave", zh: "不放入", en: "Leave out"},
		{key: "pack.left", zh: "还需要", en: "Still to be done"},
		{key: "pack.close", zh: "封箱并上报发货（顺丰到付）", en: "Close and report the shipment (freight collect)"},
		{key: "pack.undoLast", zh: "撤销上一步", en: "Undo the last step"},

		{key: "pack.orders", zh: "待装箱订单", en: "Orders to be packed"},
		{key: "pack.ordersCaption", zh: "按截止时间排列", en: "By when they are due"},
		{key: "pack.orderID", zh: "订单", en: "Order"},
		{key: "pack.company", zh: "公司", en: "Company"},
		{key: "pack.due", zh: "截止", en: "Due"},
		{key: "pack.ready", zh: "可以装箱", en: "ready to be packed"},
		{key: "pack.notReady", zh: "还不能装箱", en: "not ready yet"},
		{key: "pack.none", zh: "没有其他待装箱的订单。", en: "No other order has a key to be packed."},
		{key: "pack.closed", zh: "已封箱，中心服务器尚未确认发货", en: "Closed parcels that the central server has not taken as shipped"},
		{key: "pack.number", zh: "运单号", en: "Waybill"},
		{key: "pack.closedBy", zh: "封箱人", en: "Closed by"},
		{key: "pack.count", zh: "%d 把", en: "%d keys", one: "%d key"},
		{key: "pack.refused", zh: "服务器拒绝：请扣下这个包裹", en: "The server refuses it: stop this parcel"},
		{key: "pack.reported", zh: "已上报，等待应答；可以交给快递", en: "reported, not answered yet; hand it to the courier"},

		{key: "insertion.asked", zh: "核对 %s：稍候，先不要插入……", en: "To verify %s: wait, do not insert it yet …"},
		{key: "insertion.wanted", zh: "请现在插入令牌 %s（已插着的请拔出再插）", en: "Insert the key %s now (if it is in, take it out and put it in again)"},
		{key: "insertion.read", zh: "令牌 %s 核对无误，请拔出放入包裹", en: "The key %s is the right one: take it out and put it into the parcel"},
		{key: "insertion.late", zh: "没有等到令牌 %s，请再点“插入核对”", en: "The key %s was not put in: choose “Insert to verify” again"},
		{key: "insertion.failed", zh: "令牌 %s 无法读取或内容不符：请放到一边并告诉本站负责人", en: "The key %s cannot be read, or is not what was written: put it aside and tell whoever answers for this station"},
		{key: "insertion.wrong-key", zh: "插入的不是令牌 %s：标签贴错了。请把两把都放到一边，重新贴标签", en: "What was put in is not the key %s: the labels are wrong. Put both keys aside and label them anew"},
		{key: "insertion.not-there", zh: "令牌 %s 已不在包裹内", en: "The key %s is not in the parcel any more"},
	}
	for _, s := range []struct{ name, zh, en string }{
		{"elsewhere", "未到过本站：请查中心服务器", "never at this station: look at the central server"},
		{"working", "尚未完成", "not finished yet"},
		{"given-up", "本站没有做成", "has no finished key here"},
		{"unreported", "已完成，等待服务器应答", "finished, waits for the server's answer"},
		{"not-taken", "服务器未接受：请放到一边并询问", "not taken by the server: put it aside and ask there"},
		{"unanchored", "已完成，记录尚未上传", "finished, its record is not at the server yet"},
		{"unlabelled", "标签未确认：贴好后请扫描标签", "its label is not confirmed: scan it once it is stuck on"},
		{"nameless", "序列号不唯一，不能扫描装箱", "its serial does not tell it from others"},
		{"ready", "尚未扫描", "not scanned yet"},
		{"packed", "已在封好的包裹内", "in a closed parcel"},
	} {
		out = append(out, text{key: "standing." + s.name, zh: s.zh, en: s.en})
	}
	for _, s := range []struct{ name, zh, en string }{
		{"elsewhere", "未到过本站 %d 把", "%d never at this station"},
		{"working", "制作中 %d 把", "%d not finished"},
		{"given-up", "未做成 %d 把", "%d without a finished key"},
		{"unreported", "等待服务器应答 %d 把", "%d not answered by the server"},
		{"not-taken", "服务器未接受 %d 把", "%d not taken by the server"},
		{"unanchored", "记录待上传 %d 把", "%d not on record at the server"},
		{"unlabelled", "标签未确认 %d 把", "%d without a confirmed label"},
		{"nameless", "序列号不唯一 %d 把", "%d with an ambiguous serial"},
		{"ready", "可装 %d 把", "%d ready"},
		{"packed", "已装 %d 把", "%d packed"},
	} {
		out = append(out, text{key: "count." + s.name, zh: s.zh, en: s.en})
	}
	for _, s := range packingSentences() {
		s.key = "say:" + s.en
		out = append(out, s)
	}
	return out
}

// packingSentences are what the packing table says, in its own words and in Chinese.
func packingSentences() []text {
	return []text{
		{en: "%s.", zh: "%s。"},
		{en: "%s.\n%s", zh: "%s。\n%s"},
		{en: "Key %d of %d (%s) %s", zh: "第 %d 把 / 共 %d 把（%s）%s"},
		{en: "was never at this station, which does not know where it is; look at the central server, and leave it out if it is made elsewhere or cancelled", zh: "未到过本站，去向不明：请查中心服务器；若在别处制作或已取消，请选“不放入”"},
		{en: "is not finished yet", zh: "尚未完成"},
		{en: "has no finished key here; see usbkeyd jobs list", zh: "本站没有做成，见 usbkeyd jobs list"},
		{en: "is finished, but the central server has not answered its report yet", zh: "已完成，但中心服务器尚未应答"},
		{en: "was not taken as installed by the central server: put it aside and ask there", zh: "中心服务器未接受：请放到一边并询问"},
		{en: "is finished, but its record is not at the central server yet; wait a moment", zh: "已完成，但记录尚未上传，请稍候"},
		{en: "has no label that was scanned when it was stuck on; see usbkeyd labels list", zh: "的标签贴上后未经扫描确认，见 usbkeyd labels list"},
		{en: "is on a token whose serial does not tell it from others; it cannot be packed by scanning", zh: "所在令牌的序列号不唯一，不能扫描装箱"},
		{en: "is not scanned yet", zh: "尚未扫描"},
		{en: "is in a closed parcel already", zh: "已在封好的包裹内"},

		{en: "%s is an order's number and a token's serial as well. Use usbkeyd pack open for the order; the key cannot be packed by scanning.", zh: "%s 既是订单号又是令牌序列号。请用 usbkeyd pack open 打开订单；这把钥匙不能扫描装箱。"},
		{en: "%s is no order, no token and no waybill that this station knows. If it is on a key, that key was not made here: put it aside.", zh: "%s 不是本站已知的订单、令牌或运单。若它在钥匙上，这把钥匙不是本站制作的：请放到一边。"},
		{en: "The parcel of order %s is open already: scan its keys.", zh: "订单 %s 的包裹已经打开：请扫描钥匙。"},
		{en: "The parcel of order %s is still open. Close it, or undo what was done to it, before %s.", zh: "订单 %s 的包裹还开着。请先封箱或全部撤销，再处理 %s。"},
		{en: "This is no order number: %q.", zh: "这不是订单号：%q。"},
		{en: "This station has no key of an order %s.", zh: "本站没有订单 %s 的钥匙。"},
		{en: "No parcel is open: scan the order first.", zh: "没有打开的包裹：请先扫描订单。"},
		{en: "The token %s was here, and holds no finished key: put it aside.", zh: "令牌 %s 在本站用过，但没有做成的钥匙：请放到一边。"},
		{en: "%d keys of this station have the token serial %s, so a scan does not tell which one this is: put it aside.", zh: "本站有 %d 把钥匙的令牌序列号都是 %s，无法分辨是哪一把：请放到一边。"},
		{en: "Wrong key: %s belongs to order %s (key %d of %d), not to %s. Put it back with its own order.", zh: "拿错了：%s 属于订单 %s（第 %d 把 / 共 %d 把），不属于 %s。请放回它自己的订单。"},
		{en: "Key %d of %d (%s) is in the parcel already; %s scanned it.", zh: "第 %d 把 / 共 %d 把（%s）已在包裹内，由 %s 扫描。"},
		{en: "Key %d of %d (%s) was left out of this parcel: undo that first.", zh: "第 %d 把 / 共 %d 把（%s）已标为不放入本包裹：请先撤销。"},
		{en: "%s has had the PIN letter of key %d of %d (%s) in the hand; somebody else must pack it.", zh: "%s 经手过第 %d 把 / 共 %d 把（%s）的密码信封，必须由另一人装箱。"},
		{en: "This is no waybill number of a carrier that this station knows: %q. Scan the waybill; the forms are in packing.waybills.", zh: "这不是本站已知快递公司的运单号：%q。请扫描面单上的运单号；格式见配置 packing 的 waybills。"},
		{en: "%s is an order or a token of this station, and so cannot be a waybill.", zh: "%s 是本站的订单或令牌，不能作为运单号。"},
		{en: "The waybill comes last. %s", zh: "运单最后扫描。%s"},
		{en: "The waybill %s is entered already.", zh: "运单号 %s 已经录入。"},
		{en: "The parcel has the waybill %s already: undo that first.", zh: "包裹已有运单号 %s：请先撤销。"},
		{en: "The waybill %s is that of the parcel of order %s.", zh: "运单号 %s 属于订单 %s 的包裹。"},
		{en: "%s is no unit of order %s.", zh: "%s 不是订单 %s 的单元。"},
		{en: "Key %d of %d (%s) is left out already.", zh: "第 %d 把 / 共 %d 把（%s）已标为不放入。"},
		{en: "%s, so it cannot be left out.", zh: "%s，不能标为不放入。"},
		{en: "No key is scanned that was not verified.", zh: "扫描过的钥匙都已核对。"},
		{en: "%q is not in the parcel of order %s: scan its label first.", zh: "%q 不在订单 %s 的包裹内：请先扫描标签。"},
		{en: "The token %s is not in the open parcel any more.", zh: "令牌 %s 已不在打开的包裹内。"},
		{en: "The parcel of order %s is not empty: undo what is in it first.", zh: "订单 %s 的包裹不是空的：请先撤销其中的内容。"},
		{en: "%q is nothing that was done to the parcel of order %s.", zh: "%q 没有出现在订单 %s 的包裹操作中。"},
		{en: "There is no key of order %s left to be packed", zh: "订单 %s 没有可装的钥匙"},
		{en: "Key %d of %d (%s) is not verified: insert it", zh: "第 %d 把 / 共 %d 把（%s）尚未插入核对：请插入"},
		{en: "The waybill is not entered", zh: "尚未录入运单号"},
		{en: "The key %s is not that of %s any more: undo its scan and put it aside.", zh: "钥匙 %s 已不是 %s 的钥匙：请撤销扫描并放到一边。"},
		{en: "%s. It was left out of this parcel: undo that.", zh: "%s。它已标为不放入本包裹：请撤销。"},
		{en: "The parcel of order %s cannot be closed. %s", zh: "订单 %s 的包裹还不能封箱。%s"},
		{en: "This is no order number, token serial or waybill: %q. Scan it again.", zh: "这不是订单号、令牌序列号或运单号：%q。请重扫。"},

		{en: "The parcel of order %s is open: scan its keys.", zh: "订单 %s 的包裹已打开：请扫描钥匙。"},
		{en: "%s is in the parcel (%d of %d keys).", zh: "%s 已装入包裹（%d / %d 把）。"},
		{en: "%s has shown its serial and its certificate.", zh: "%s 的序列号和证书核对无误。"},
		{en: "%s is left out of this parcel.", zh: "%s 不放入本包裹。"},
		{en: "The waybill is %s.", zh: "运单号是 %s。"},
		{en: "The parcel is dropped.", zh: "包裹已取消。"},
		{en: "Undone: %s.", zh: "已撤销：%s。"},
		{en: "The parcel is closed. Its shipment is reported to the central server.", zh: "包裹已封箱，发货已上报中心服务器。"},
		{en: "The key %s is waited for.", zh: "正在等待令牌 %s。"},
	}
}
