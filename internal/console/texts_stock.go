package console

func stockTexts() []text {
	return []text{
		{key: "title.stock", zh: "库存", en: "Stock"},
		{key: "stock.unread", zh: "正在读取库存……", en: "The stock is being read …"},
		{key: "stock.only", zh: "本站只写到货清单上的令牌。", en: "This station writes delivered tokens only."},
		{key: "stock.any", zh: "本站也写不在到货清单上的令牌。", en: "This station also writes tokens that are on no list."},
		{key: "stock.unlisted", zh: "见过但不在到货清单上的令牌：%d 个", en: "%d tokens were seen here and are on no list", one: "%d token was seen here and is on no list"},
		{key: "stock.find", zh: "若是新到货的，请登记供应商清单；否则取出，查明来源。", en: "If it came with a delivery, take in the supplier's list; if not, take it out and find out where it is from."},
		{key: "stock.lots", zh: "各批次的令牌", en: "Delivered tokens by lot"},
		{key: "stock.lot", zh: "批次", en: "Lot"},
		{key: "stock.model", zh: "型号", en: "Model"},
		{key: "stock-is.delivered", zh: "到货", en: "Delivered"},
		{key: "stock-is.blank", zh: "空白", en: "Blank"},
		{key: "stock-is.at-work", zh: "制作中", en: "At work"},
		{key: "stock-is.written", zh: "已制作", en: "Written"},
		{key: "stock-is.quarantined", zh: "隔离", en: "Quarantined"},
		{key: "stock-is.refused", zh: "打不开", en: "Refused"},
		{key: "stock.sum", zh: "合计", en: "Altogether"},
		{key: "stock.empty", zh: "还没有登记过到货清单。", en: "No list of delivered tokens was taken in yet."},
		{key: "stock.import", zh: "登记到货清单的命令：", en: "The command that takes a supplier's list in:"},
		{key: "stock.here", zh: "现在插着的令牌：序列号与外壳编号", en: "Tokens that are plugged in: serial and casing"},
		{key: "stock.bay", zh: "槽位", en: "Bay"},
		{key: "stock.token", zh: "令牌序列号", en: "Token serial"},
		{key: "stock.casing", zh: "外壳编号", en: "Casing number"},
		{key: "stock.notlisted", zh: "不在到货清单上", en: "On no list"},
		{key: "stock.nothing", zh: "没有插着令牌。", en: "No token is plugged in."},
		{key: "number", zh: "%d", en: "%d"},
	}
}
