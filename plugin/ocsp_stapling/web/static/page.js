// Makes the page alive; everything also works without it. No inline code, no external request.
(function () {
  "use strict";
  var root = document.getElementById("ost");
  if (!root) { return; }
  var live = document.getElementById("ost-live");

  function say(text) { if (live) { live.textContent = text; } }
  function sayOf(box) { if (box) { say(box.textContent.replace(/\s+/g, " ").trim()); } }

  // -- what the page was opened for is said once; a live region speaks only of what changes after it is there
  setTimeout(function () { sayOf(root.querySelector("[data-ost-told]")); }, 500);

  function element(tag, className, text) {
    var made = document.createElement(tag);
    if (className) { made.className = className; }
    if (text) { made.textContent = text; }
    return made;
  }

  function getJson(address) {
    return fetch(address, { credentials: "same-origin", cache: "no-store" }).then(function (answer) {
      if (!answer.ok) { throw new Error(String(answer.status)); }
      return answer.json();
    });
  }

  // -- dark where WHM's page around is dark
  function shade(color) {
    var parts = (color.match(/[\d.]+/g) || []).map(Number);
    return parts.length < 3 || parts[3] === 0 ? null : (0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2]) / 255;
  }
  function followShade() {
    var found = null;
    for (var box = root.parentElement; box && found === null; box = box.parentElement) {
      found = shade(getComputedStyle(box).backgroundColor);
    }
    root.classList.toggle("ost-dark", found !== null && found < 0.35);
  }
  followShade();
  window.addEventListener("load", followShade);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { setTimeout(followShade, 100); });

  // -- the browser's title and icon say the state, for whoever has it in one of many tabs
  var COLOURS = { good: "#17692f", warn: "#b97900", bad: "#c3161d", off: "#4a3a8c", calm: "#5b6b7a" };
  function showState(title, tone) {
    if (title) { document.title = title + " - OCSP Stapling"; }
    var old = document.getElementById("ost-icon");
    if (old) { old.remove(); }
    if (!COLOURS[tone]) { return; }
    var icon = element("link");
    icon.id = "ost-icon";
    icon.rel = "icon";
    icon.href = "data:image/svg+xml," + encodeURIComponent("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>" +
      "<circle cx='8' cy='8' r='7' fill='" + COLOURS[tone] + "'/></svg>");
    document.head.appendChild(icon);
  }
  showState(root.dataset.ostTitle, root.dataset.ostTone);

  // -- an operation or a check that is under way: ask until it has ended, then show the page as it is then
  // (what only offers the new page waits for what the reader has asked for)
  var polled = root.querySelector("[data-ost-poll]:not([data-ost-offer])") || root.querySelector("[data-ost-poll]");
  var failures = 0;

  function showSteps(lines) {
    var list = document.getElementById("ost-steps");
    if (!list || !lines) { return; }
    if (lines.length !== list.children.length && lines.length) { say(lines[lines.length - 1].words); }
    list.replaceChildren.apply(list, lines.map(function (line, number) {
      var item = element("li");
      var mark = element("span");
      mark.setAttribute("aria-hidden", "true");
      mark.appendChild(element("span", number === lines.length - 1 ? "ost-spin" : "ost-tick-mark"));
      var words = element("span");
      line.words.split("/").forEach(function (part, number) {  // a path is broken behind its slashes first
        words.append(number ? "/" : "", number ? element("wbr") : "", part);
      });
      item.append(element("span", "ost-at", line.at), mark, words);
      return item;
    }));
  }

  function showProgress(found) {
    var list = document.getElementById("ost-progress");
    if (list && found.lines) {
      list.replaceChildren.apply(list, found.lines.map(function (line) { return element("li", "", line); }));
    }
    var seconds = document.getElementById("ost-seconds");
    if (seconds && found.seconds) { seconds.textContent = found.seconds.toFixed(0) + " s"; }
  }

  function isTyping() {
    var field = document.activeElement;
    return Boolean(field && /^(INPUT|TEXTAREA)$/.test(field.tagName) && root.contains(field) && field.value !== field.defaultValue);
  }

  // -- where somebody is on a page that renews itself: the link or button that has the focus, and what is unfolded
  var PLACE = "ost-place";

  function called(box) { return [box.tagName, box.id, box.name, box.getAttribute("href"), box.textContent].join("|"); }
  function keepPlace() {
    var focused = document.activeElement;
    var open = Array.from(root.querySelectorAll("details[open] > summary")).map(called);
    try {
      sessionStorage.setItem(PLACE, JSON.stringify({ focus: root.contains(focused) ? called(focused) : "", open: open }));
    } catch (error) { /* a browser that keeps nothing: the page begins at its top */ }
  }
  function findPlace() {
    var kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(PLACE));
      sessionStorage.removeItem(PLACE);
    } catch (error) { return; }
    if (!kept) { return; }
    root.querySelectorAll("summary").forEach(function (one) {
      if (kept.open.indexOf(called(one)) >= 0) { one.parentElement.open = true; }
    });
    var focused = kept.focus && Array.from(root.querySelectorAll("a, button, summary, [tabindex]")).find(function (one) {
      return called(one) === kept.focus;
    });
    if (focused) { focused.focus({ preventScroll: true }); }
    setTimeout(function () { sayOf(root.querySelector("#ost-verdict-title, #ost-operation, .ost-next")); }, 500);
  }
  findPlace();
  function renew() { keepPlace(); location.reload(); }

  // -- a page that is read or copied from is not replaced under its reader
  function offer() {
    var again = element("a", "", "Show what it found");
    again.href = location.href;
    again.addEventListener("click", function (event) { event.preventDefault(); renew(); });
    polled.replaceChildren("There is a newer check. ", again);
    say("There is a newer check.");
  }

  function poll() {
    getJson(polled.getAttribute("data-ost-poll")).then(function (found) {
      failures = 0;
      if (found.ended && isTyping()) { setTimeout(poll, 2000); return; }  // what is half typed is not thrown away
      if (found.ended && polled.dataset.ostOffer !== undefined) { offer(); return; }
      if (found.ended) { renew(); return; }
      showSteps(found.lines && found.lines[0] && found.lines[0].words ? found.lines : null);
      showProgress(found);
      var title = document.getElementById("ost-operation");
      if (title && found.title) { title.textContent = found.title; }
      setTimeout(poll, 700);
    }).catch(function () {
      // The service or WHM itself may be restarting; the work goes on without us.
      failures += 1;
      if (failures === 5) { say("The server does not answer at the moment. The work goes on; this page keeps asking."); }
      setTimeout(poll, Math.min(700 * failures, 5000));
    });
  }
  if (polled) { setTimeout(poll, 500); }

  // -- how old things are, while the page stays open; an old verdict is not told in the present
  var OLD_MINUTES = 15;
  function aboutWords(minutes) {
    var steps = [[1440, "day"], [60, "hour"], [1, "minute"]];
    for (var i = 0; i < steps.length; i += 1) {
      if (minutes >= (steps[i][0] > 1 ? 2 : 1) * steps[i][0]) {
        var count = Math.floor(minutes / steps[i][0]);
        return count + " " + steps[i][1] + (count === 1 ? "" : "s");
      }
    }
    return "";
  }
  function agoWords(minutes) {
    var about = aboutWords(Math.abs(minutes));
    return !about ? "just now" : minutes > 0 ? about + " ago" : "in " + about;
  }
  function grow() {
    root.querySelectorAll("[data-ost-when]").forEach(function (time) {
      var minutes = (Date.now() - Date.parse(time.dateTime)) / 60000;
      var words = agoWords(minutes);
      if (time.textContent !== words) { time.textContent = words; }
      var band = time.dataset.ostAge === undefined ? null : time.closest("[data-ost-past]");
      if (!band || minutes < OLD_MINUTES) { return; }
      var title = document.getElementById("ost-verdict-title");
      var then = "The check said then: ";
      if (title.textContent.indexOf(then) !== 0) { title.textContent = then + title.textContent; }
      band.className = "ost-verdict ost-calm";
      band.querySelector("use").setAttribute("href", "#ost-i-calm");
      band.querySelector(".ost-icon").setAttribute("class", "ost-icon ost-calm");
      band.querySelector(".ost-kicker").textContent = words.charAt(0).toUpperCase() + words.slice(1) + ": " + band.dataset.ostPast;
      showState(band.querySelector(".ost-kicker").textContent, "calm");
      root.querySelectorAll(".ost-grid .ost-good").forEach(function (one) { one.classList.replace("ost-good", "ost-calm"); });
      root.querySelectorAll(".ost-grid use[href='#ost-i-good']").forEach(function (use) { use.setAttribute("href", "#ost-i-calm"); });
    });
  }
  setInterval(grow, 20000);

  // -- whoever comes back to an open page opens it anew, which has an old picture taken again
  var seenAt = Date.now();
  document.addEventListener("visibilitychange", function () {
    var aging = root.querySelector("[data-ost-age]");
    if (!document.hidden && aging && !isTyping() && Date.now() - seenAt > 120000) { renew(); }
  });

  // -- how long visitors wait now: asked only while the page is seen; no live region, for it would never be silent
  var line = root.querySelector("[data-ost-live]");
  function showNow(found) {
    if (found.text) {
      var site = element("span", "ost-soft ost-small", found.site);
      line.replaceChildren(element("span", "ost-dot ost-" + found.tone), "Visitors now: " + found.text, site);
      line.hidden = false;
    }
    return found.again;
  }
  function askNow() {
    if (document.hidden) { setTimeout(askNow, 2000); return; }
    getJson(line.dataset.ostLive).then(showNow).then(function (again) {
      if (again) { setTimeout(askNow, 1000 * again); }
    }).catch(function () { line.hidden = true; setTimeout(askNow, 10000); });
  }
  if (line) { setTimeout(askNow, 300); }

  // -- copy buttons, made here because they need a script
  root.querySelectorAll("[data-ost-copy]").forEach(function (box) {
    if (!navigator.clipboard) { return; }
    var button = element("button", "ost-button ost-button-small", "Copy");
    var pre = box.querySelector("pre");
    button.type = "button";
    button.setAttribute("aria-label", "Copy: " + pre.getAttribute("aria-label"));
    button.addEventListener("click", function () {
      navigator.clipboard.writeText(pre.textContent).then(function () {
        button.textContent = "Copied";
        say("Copied.");
        setTimeout(function () { button.textContent = "Copy"; }, 2500);
      }, function () {
        getSelection().selectAllChildren(pre);
        say("Copying is not allowed here; the text is selected.");
      });
    });
    box.appendChild(button);
  });

  // -- a form that must not be sent twice by a double click (sent twice it would still be one change)
  root.querySelectorAll("form[method=post]").forEach(function (form) {
    form.addEventListener("submit", function (event) {
      if (form.dataset.ostSent) { event.preventDefault(); return; }
      form.dataset.ostSent = "yes";
      var button = form.querySelector("button[type=submit]");
      if (button) { button.setAttribute("aria-disabled", "true"); button.textContent = "One moment…"; }
    });
  });

  // -- the search for sites, while one types
  var filter = root.querySelector("[data-ost-filter]");
  var table = document.getElementById("ost-sites");
  if (filter && table) {
    var waiting = 0;
    var asked = 0;
    var search = function () {
      var address = "?" + new URLSearchParams(new FormData(filter)).toString();
      var mine = asked += 1;
      getJson(address + "&format=json").then(function (found) {
        if (mine !== asked) { return; }
        table.innerHTML = found.html;
        sayOf(document.getElementById("ost-found"));
        history.replaceState(null, "", address);
      }).catch(function () { filter.submit(); });
    };
    filter.addEventListener("input", function () { clearTimeout(waiting); waiting = setTimeout(search, 250); });
    filter.addEventListener("submit", function (event) { event.preventDefault(); clearTimeout(waiting); search(); });
  }

  // -- of very many responders each one's addresses come when they are looked at
  root.querySelectorAll("details").forEach(function (box) {
    box.addEventListener("toggle", function () {
      var later = box.querySelector("[data-ost-later]");
      if (!box.open || !later) { return; }
      getJson(later.getAttribute("href").split("#")[0] + "&format=json").then(function (found) {
        later.closest(".ost-responder-body").innerHTML = found.html;
      }).catch(function () { later.textContent = "Show its addresses (on a page of its own)"; });
    });
  });

  // -- what does not fit on a phone: show the tabs one is on
  function showWhatMatters() {
    root.querySelectorAll(".ost-nav [aria-current]").forEach(function (tab) {
      var row = tab.closest("ul");
      row.scrollLeft = Math.max(0, tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2);
    });
  }
  showWhatMatters();
  window.addEventListener("resize", showWhatMatters);  // a phone is turned

  // -- on paper nothing can be unfolded; what was folded is folded again afterwards
  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.from(root.querySelectorAll("details:not([open])"));
    folded.forEach(function (box) { box.open = !box.querySelector("[data-ost-later]"); });
  });
  window.addEventListener("afterprint", function () { folded.forEach(function (box) { box.open = false; }); });

  // -- a page kept open must not look fresh when it is old; back and forward buttons show it as it was
  window.addEventListener("pageshow", function (event) { if (event.persisted) { location.reload(); } });
})();
