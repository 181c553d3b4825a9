/** Puts the page together: one store, the actions that change it, the views that show it. */

import { createActions } from "./actions.js";
import { createAppearance } from "./appearance.js";
import { createDownloads } from "./downloads.js";
import { find } from "./elements.js";
import { listenToIntake } from "./intake.js";
import { createList } from "./list.js";
import { createNotice } from "./notice.js";
import { listenToPointer } from "./pointer.js";
import { createSettings } from "./settings.js";
import { createStage } from "./stage.js";
import { INITIAL } from "./state.js";
import { createStore } from "./store.js";
import { createTabs } from "./tabs.js";

const store = createStore(INITIAL);
const actions = createActions(store);
const stage = createStage(store, find("#stage"));
createAppearance(store, actions, stage, listenToPointer(stage, actions));
createList(store, actions);
createSettings(store, actions);
createDownloads(store, actions);
createNotice(store, actions);
createTabs();
listenToIntake(store, actions);

store.on(["info", "document"], ({ info, document: answer }) => {
  const model = answer?.model ?? info;
  find("#model").textContent = model ? `Model: ${model.name} ${model.version}` : "";
});
document.documentElement.classList.add("ready");
actions.learnModel();
