package console

func quarantineTexts() []text {
	return []text{
		{key: "title.quarantine", zh: "隔离", en: "Quarantine"},
		{key: "quarantine.count", zh: "隔离中的令牌：%d 个", en: "%d tokens in quarantine", one: "%d token in quarantine"},
		{key: "quarantine.rule", zh: "隔离中的令牌不得发货，也不得再用。只有擦除后确认为空白的令牌才能放回库存。", en: "A token in quarantine must not be shipped or used again. Only one that was wiped and proved blank goes back into stock."},
		{key: "quarantine.who", zh: "擦除和解除隔离由主管操作。", en: "A supervisor wipes and releases."},
		{key: "quarantine.unnamed", zh: "无序列号的令牌", en: "A token without a serial"},
		{key: "quarantine.since", zh: "自 %s 起隔离", en: "in quarantine since %s"},
		{key: "quarantine.here", zh: "已插入：%s", en: "plugged in: %s"},
		{key: "quarantine.second", zh: "令牌上可能有客户的密钥，须由两人共同确认。", en: "A customer's key may be on it, so two people have to agree."},
		{key: "quarantine.wipe", zh: "擦除", en: "Wipe"},
		{key: "quarantine.release", zh: "解除隔离", en: "Release"},
		{key: "casing", zh: "外壳编号 %s", en: "casing %s"},

		{key: "holds.key", zh: "令牌上可能有客户的密钥或证书", en: "A customer's key or certificate may be on it"},
		{key: "holds.nothing", zh: "令牌已写过，没有生成密钥", en: "Written, but no key was made on it"},
		{key: "holds.emptied", zh: "已擦除：令牌是空的", en: "Wiped: it is empty"},
		{key: "holds.blank", zh: "已擦除，确认为空白", en: "Wiped and proved blank"},

		{key: "decide.release", zh: "解除隔离，令牌即可再次制作。", en: "Release it: it may be written again then."},
		{key: "decide.insert", zh: "把令牌插到本站，然后擦除或解除隔离。", en: "Insert it at this station, then wipe or release it."},
		{key: "decide.wipe", zh: "擦除令牌。", en: "Wipe it."},
		{key: "decide.keep", zh: "贴上标记，单独存放，不得放回库存。", en: "Mark it and keep it apart; it does not go back into stock."},

		{key: "act.release", zh: "解除隔离：令牌 %s 放回库存", en: "Release token %s from quarantine, back into stock"},
		{key: "act.wipe", zh: "擦除令牌 %s", en: "Wipe token %s"},
		{key: "no.no-such", zh: "这个令牌不在隔离中。", en: "This token is not in quarantine."},
		{key: "no.no-token", zh: "令牌没有插在本站上：请插入后再试。", en: "The token is not plugged in at this station: insert it and ask again."},
		{key: "no.no-serial", zh: "令牌没有显示过序列号，无法确认是哪一个：请销毁。", en: "It has shown no serial, so nobody can tell which one it is: have it destroyed."},
		{key: "no.no-model", zh: "本站不能清空这个型号：请销毁，或请负责人处理。", en: "The station cannot empty this model: have it destroyed, or ask whoever answers for the station."},
		{key: "no.no-so-pin", zh: "本站没有它的管理员 PIN 码：请恢复管理员用托管的 PIN 码擦除，或销毁。", en: "The station does not have its SO PIN: the recovery officer can wipe it with the one in escrow, or have it destroyed."},
		{key: "no.no-wipe-twice", zh: "令牌已经擦除并确认为空白。", en: "It is wiped and proved blank already."},
		{key: "no.not-blank", zh: "令牌没有确认为空白，不能放回库存。", en: "It is not proved blank, so it does not go back into stock."},
		{key: "no.replaced", zh: "插着的令牌与记录不符：序列号相同，但标签不同。请取出并告诉负责人。", en: "The token that is plugged in is not as the journal has it: same serial, another label. Take it out and tell whoever answers for the station."},
	}
}
