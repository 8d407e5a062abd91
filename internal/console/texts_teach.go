package console

func teachTexts() []text {
	return []text{
		{key: "title.teach", zh: "槽位编号", en: "Teach bays"},
		{key: "bay-number", zh: "%d 号槽", en: "Bay %d"},
		{key: "bay-port", zh: "USB 口 %s", en: "USB %s"},
		{key: "teach.insert", zh: "请把令牌插入 %d 号槽", en: "Put a token into bay %d"},
		{key: "teach.how", zh: "按集线器上贴的编号依次插入。令牌可以留在槽里，也可以用同一个令牌逐个移动。编号期间不领取新任务。", en: "Go by the numbers on the hub. Tokens may stay where they are, or one is moved along. No new work is claimed meanwhile."},
		{key: "teach.why", zh: "电脑读不出令牌插在集线器的哪个口。按编号逐个插入一次令牌，本站就会记住，之后按编号顺序显示和制作。", en: "The computer cannot tell which port of the hub a token is in. Put a token into each by its number once: bays are shown and filled in that order from then on."},
		{key: "teach.who", zh: "槽位编号由制证员或主管操作。", en: "Writers and supervisors teach bays."},
		{key: "teach.sofar", zh: "本次已编号", en: "Taught so far"},
		{key: "teach.taught", zh: "现在的编号", en: "Numbers now"},
		{key: "teach.number", zh: "编号", en: "Number"},
		{key: "teach.slot", zh: "读卡器或槽位", en: "Slot"},
		{key: "teach.skipped", zh: "跳过", en: "left out"},
		{key: "teach.none", zh: "还没有编号。", en: "None yet."},
		{key: "teach-act.begin", zh: "开始编号", en: "Begin"},
		{key: "teach-act.undo", zh: "撤销上一个", en: "Undo the last"},
		{key: "teach-act.skip", zh: "跳过这个编号", en: "Leave this number out"},
		{key: "teach-act.again", zh: "从 1 号重来", en: "Again from 1"},
		{key: "teach-act.cancel", zh: "取消", en: "Cancel"},
		{key: "teach-act.finish", zh: "完成并保存", en: "Finish"},
		{key: "teach-fault.model", zh: "插入的令牌型号不对：没有适合它的令牌配置。请取出，换一个型号正确的令牌。", en: "Wrong model: no token profile fits what was put in. Take it out and use a token of the right model."},
		{key: "teach-fault.twice", zh: "这个槽位已经是 %d 号。请把令牌插到下一个编号的槽。", en: "That slot is bay %d already. Put the token into the next number."},
		{key: "teach-fault.several", zh: "同时插入了多个令牌。请都取出，再一个一个插入。", en: "Several tokens came at once. Take them out and put them in one by one."},
	}
}
