package wording

import "maps"

// texts are all Chinese texts but for the long ones of commands, by their English ones.
func texts() map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{commandTexts(), flagTexts(), tableTexts(), stateTexts(), sentenceTexts(), errorTexts(), libraryTexts(), composedTexts(), configTexts(), profileTexts(), foreignTexts(), doctorTexts(), networkTexts()} {
		maps.Copy(all, m)
	}
	return all
}
