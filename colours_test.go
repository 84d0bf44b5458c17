package main

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// contrasts gives the texts that the page shows with less contrast than WCAG 2
// asks for (1.4.3: 4.5 to 1).
const contrasts = `(() => {
	const rgb = (css) => css.match(/[\d.]+/g).map(Number);
	const luminance = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
	const behind = (e) => {
		const c = rgb(getComputedStyle(e).backgroundColor);
		return c.length === 3 || c[3] === 1 || !e.parentElement ? c : behind(e.parentElement);
	};
	const poor = [];
	for (const e of document.body.querySelectorAll("*")) {
		const text = [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE).map((n) => n.textContent.trim()).join("");
		if (!text || !e.checkVisibility() || e.matches(":disabled")) continue;
		const [dark, light] = [luminance(rgb(getComputedStyle(e).color)), luminance(behind(e))].sort((a, b) => a - b);
		const contrast = (light + .05) / (dark + .05);
		if (!(contrast >= 4.5)) poor.push(e.tagName + " " + contrast.toFixed(2) + " " + text.slice(0, 40));
	}
	return poor;
})()`

// TestLightAndDark opens each page as viewers who prefer light and dark do: all
// can be read, and the picture's surround stays black.
func TestLightAndDark(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	tab := startBrowser(t)()
	for path, ready := range map[string]string{
		"/":             `document.querySelectorAll("#statistics dd").length > 5`,
		"/play/nothing": `document.getElementById("list")?.hidden === false`,
		"/streams.html": `document.querySelectorAll("article").length === 2`,
		"/owner":        `document.getElementById("note")?.textContent.includes("watching")`,
	} {
		open(t, tab, p.url+path)
		if path == "/" {
			if _, err := chromedp.Run(tab, chromedp.Click("#numbers")); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, path+" is there", func() bool { return evaluate[bool](t, tab, "Boolean("+ready+")") })
		evaluate[bool](t, tab, `(() => { for (const d of document.querySelectorAll("details")) d.open = true; return true; })()`)
		for scheme, body := range map[string]string{"dark": "rgb(14, 17, 22)", "light": "rgb(244, 246, 248)"} {
			prefer(t, tab, scheme)
			if got := evaluate[string](t, tab, `getComputedStyle(document.body).backgroundColor`); got != body {
				t.Errorf("%s in %s is %s", path, scheme, got)
			}
			for _, poor := range evaluate[[]string](t, tab, contrasts) {
				t.Errorf("%s in %s: little contrast: %s", path, scheme, poor)
			}
			if path == "/" && evaluate[string](t, tab, `getComputedStyle(document.querySelector("main")).backgroundColor`) != "rgb(0, 0, 0)" {
				t.Error("the picture's surround is not black")
			}
		}
	}
}
