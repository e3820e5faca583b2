// Asks for the token.

import { post } from "/api.js";
import { h } from "/dom.js";

export function loginPage(entered, why = "") {
  const problem = h("p", { id: "login-problem", class: "trouble", role: "alert" }, why);
  const field = h("input", { id: "token", name: "token", type: "password", autocomplete: "current-password", required: true, "aria-describedby": "login-hint login-problem" });
  const button = h("button", { type: "submit" }, "Log in");
  const form = h(
    "form",
    {
      class: "card login",
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        try {
          await post("login", { token: field.value.trim() });
          field.value = "";
          entered();
        } catch (failure) {
          problem.textContent = `${failure.message.charAt(0).toUpperCase()}${failure.message.slice(1)}.`;
          field.select();
        } finally {
          button.disabled = false;
        }
      },
    },
    h("img", { src: "/icon.svg", alt: "", width: 44, height: 44 }),
    h("h1", {}, "PoleVPN router"),
    // For programs that keep passwords, which want to know whose it is.
    h("input", { name: "username", autocomplete: "username", value: "dashboard", hidden: true, readonly: true }),
    h("label", { for: "token" }, "Token"),
    field,
    h("p", { id: "login-hint", class: "muted" }, "It stands in the file that ", h("code", {}, "dashboard.token_file"), " names in the router’s configuration."),
    button,
    problem,
  );
  queueMicrotask(() => field.focus());
  return form;
}
