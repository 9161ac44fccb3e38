// The demo shop: a page per address, and beside it the Session State of whoever looks at it.
'use strict'

const PRODUCTS = [
  ['bowl-fern', 'Fern bowl', 'Bowls', 'Alder', 28, '#dfe8dc', '#55785f', 'bowl', 'For soup, salad, or both hands.'],
  ['bowl-dusk', 'Dusk bowl', 'Bowls', 'Moor', 34, '#dcdfe9', '#515b85', 'bowl', 'A wide bowl with a glaze like late evening.'],
  ['mug-morning', 'Morning mug', 'Cups', 'Alder', 19, '#f3e2d0', '#b5693d', 'mug', 'Holds a large coffee and keeps it warm.'],
  ['mug-slate', 'Slate mug', 'Cups', 'Moor', 22, '#dfe0df', '#4d5553', 'mug', 'Matt outside, smooth where you drink.'],
  ['vase-stem', 'Stem vase', 'Vases', 'Tarn', 46, '#f0dfda', '#a3503f', 'vase', 'For a single branch, or nothing at all.'],
  ['vase-river', 'River vase', 'Vases', 'Tarn', 58, '#d7e6e8', '#3f7681', 'vase', 'Thrown in two parts, joined where it narrows.'],
  ['jug-field', 'Field jug', 'Jugs', 'Alder', 39, '#ece5c9', '#93812f', 'jug', 'Pours without a drop on the table.'],
  ['jug-night', 'Night jug', 'Jugs', 'Moor', 42, '#dcd8e4', '#4a3f6b', 'jug', 'A litre of water, or a litre of stars.'],
].map(([id, name, category, brand, price, tint, glaze, shape, text]) => ({ id, name, category, brand, price, tint, glaze, shape, text }))

const SHAPES = {
  bowl: '<path d="M38 96h124c0 38-26 62-62 62S38 134 38 96z"/><ellipse cx="100" cy="96" rx="62" ry="13" class="in"/><path d="M78 156h44l4 10H74z"/>',
  mug: '<path d="M132 84c34-6 40 52-2 54" fill="none" stroke-width="12" stroke="currentColor"/><path d="M58 62h78v78c0 14-10 22-24 22H82c-14 0-24-8-24-22z"/><ellipse cx="97" cy="62" rx="39" ry="9" class="in"/>',
  vase: '<path d="M86 36h28c-4 26 28 52 28 88 0 26-16 42-42 42s-42-16-42-42c0-36 32-62 28-88z"/><ellipse cx="100" cy="37" rx="14" ry="4" class="in"/>',
  jug: '<path d="M128 70c36-4 34 58 2 66" fill="none" stroke-width="10" stroke="currentColor"/><path d="M66 46l62-4c-6 20 14 46 14 76 0 30-18 48-44 48s-44-18-44-48c0-30 20-46 12-72z"/><path d="M66 46c20 8 46 6 62-4-18-6-44-4-62 4z" class="in"/>',
}

const CUSTOMERS = ['ann', 'ben', 'caro']
const page = document.querySelector('#page')
const money = (value) => new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' }).format(value)
const product = (id) => PRODUCTS.find((one) => one.id === id)
const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`)
const saved = (key, otherwise) => JSON.parse(localStorage.getItem(key) || 'null') ?? otherwise
const save = (key, value) => localStorage.setItem(key, JSON.stringify(value))
const art = (one) => `<span class="art" style="--tint:${one.tint}"><svg viewBox="0 0 200 200" aria-hidden="true">
  <ellipse cx="100" cy="168" rx="58" ry="9" fill="#0001"/><g fill="currentColor" color="${one.glaze}">${SHAPES[one.shape]}</g></svg></span>`
const asItem = (one) => ({ item_id: one.id, item_name: one.name, item_category: one.category, item_brand: one.brand, price: one.price, currency: 'EUR' })

let basket = saved('basket', {})
const lines = () => Object.entries(basket).map(([id, quantity]) => ({ ...product(id), quantity }))
const total = () => lines().reduce((sum, one) => sum + one.price * one.quantity, 0)

/** Change how many of a product are in the basket, and tell it. */
function change(id, by) {
  const one = product(id)
  rte('event', by > 0 ? 'add_to_cart' : 'remove_from_cart', { ...asItem(one), quantity: Math.abs(by), value: one.price * Math.abs(by) })
  basket[id] = (basket[id] || 0) + by
  if (basket[id] <= 0) delete basket[id]
  save('basket', basket)
  count()
}

function count() {
  document.querySelector('#basket-count').textContent = lines().reduce((sum, one) => sum + one.quantity, 0)
}

const listed = (products) => `<ul class="products">${products.map((one) => `<li><a href="/demo/item/${one.id}">${art(one)}
  <h3>${one.name}</h3><p class="money">${money(one.price)}</p></a></li>`).join('')}</ul>`

const VIEWS = {
  list(category) {
    const categories = [...new Set(PRODUCTS.map((one) => one.category))]
    const shown = category ? PRODUCTS.filter((one) => one.category.toLowerCase() === category) : PRODUCTS
    rte('event', 'view_item_list', { item_list_name: category || 'all', ...(category && shown[0] && { item_category: shown[0].category }) })
    const chip = (name) => `<li><a href="/demo/${name ? `list/${name.toLowerCase()}` : ''}" ${(name || '').toLowerCase() === (category || '') ? 'aria-current="page"' : ''}>${name || 'All'}</a></li>`
    return [category ? shown[0]?.category || 'Nothing here' : 'Stoneware', `<h1>${category ? shown[0]?.category || 'Nothing here' : 'Stoneware for every day'}</h1>
      <p class="lead">A made-up shop. Look around, search, fill the basket: what RTE makes of it stands beside it.</p>
      <ul class="chips">${['', ...categories].map(chip).join('')}</ul>${listed(shown)}`]
  },
  search(term) {
    const found = PRODUCTS.filter((one) => `${one.name} ${one.category} ${one.brand}`.toLowerCase().includes(term.toLowerCase()))
    rte('event', 'search', { search_term: term, result_count: found.length })
    return [`Search: ${term}`, `<a class="back" href="/demo/">← All products</a><h1>“${escaped(term)}”</h1>
      ${found.length ? listed(found) : '<p class="empty">Nothing found. Try “bowl”, “vase” or “Moor”.</p>'}`]
  },
  item(id) {
    const one = product(id)
    if (!one) return VIEWS.list('')
    rte('event', 'view_item', { ...asItem(one), value: one.price })
    const others = PRODUCTS.filter((other) => other.id !== id && (other.category === one.category || other.brand === one.brand)).slice(0, 3)
    return [one.name, `<a class="back" href="/demo/list/${one.category.toLowerCase()}">← ${one.category}</a>
      <article class="item">${art(one)}<div><h1>${one.name}</h1><p class="price money">${money(one.price)}</p><p>${one.text}</p>
      <ul><li>Stoneware, glazed by hand</li><li>From the workshop ${one.brand}</li><li>Safe in the dishwasher</li></ul>
      <button class="strong" id="add" data-add="${id}" type="button">Add to basket</button></div></article>
      <h2 class="more">Goes with it</h2>${listed(others)}`]
  },
  basket() {
    rte('event', 'view_cart', { value: total(), currency: 'EUR' })
    if (!lines().length) return ['Basket', '<h1>Basket</h1><p class="empty">Nothing in here yet. <a href="/demo/">Look around</a>.</p>']
    return ['Basket', `<h1>Basket</h1><ul class="lines">${lines().map((one) => `<li>${art(one)}<div><h3>${one.name}</h3>
      <div class="steps"><button type="button" data-take="${one.id}" aria-label="One less">−</button><span class="money">${one.quantity}</span>
      <button type="button" data-add="${one.id}" aria-label="One more">+</button><button type="button" class="plain" data-drop="${one.id}">Remove</button></div></div>
      <b class="money">${money(one.price * one.quantity)}</b></li>`).join('')}</ul>
      <p class="total"><span>Total <b class="money">${money(total())}</b></span><a class="strong" id="checkout" href="/demo/checkout">To the checkout</a></p>`]
  },
  checkout() {
    if (!lines().length) return VIEWS.basket()
    rte('event', 'begin_checkout', { value: total(), currency: 'EUR' })
    return ['Checkout', `<a class="back" href="/demo/basket">← Basket</a><h1>Checkout</h1>
      <p class="lead">Nothing is sold here, and what you write into the fields is never sent.</p><form id="order" name="order">
      <div class="fields"><label>Name<input name="name" autocomplete="off"></label><label>E-mail<input name="email" type="email" autocomplete="off"></label>
      <label>Address<input name="address" autocomplete="off"></label></div>
      <button class="strong" id="buy">Buy for ${money(total())}</button></form>`]
  },
  thanks() {
    return ['Thank you', '<h1>Thank you!</h1><p class="lead">Your order exists in the Session State only.</p><a class="strong" href="/demo/">Back to the shop</a>']
  },
}

/** Show the page that the address names. */
function show() {
  const [name, rest] = location.pathname.replace(/^\/demo\/?/, '').split('/')
  const term = new URLSearchParams(location.search).get('q') || ''
  const [title, html] = name === 'search' ? VIEWS.search(term) : (VIEWS[name] || VIEWS.list)(decodeURIComponent(rest || ''))
  document.title = `${title} · Field & Kiln`
  page.innerHTML = html
  document.querySelector('#search input').value = term
}

function go(path) {
  history.pushState(null, '', path)
  show()
  scrollTo(0, 0)
  page.focus({ preventScroll: true })
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a[href^="/demo/"]')
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault()
    return go(link.getAttribute('href'))
  }
  const { add, take, drop } = event.target.closest('button')?.dataset || {}
  if (add) change(add, 1)
  if (take) change(take, -1)
  if (drop) change(drop, -basket[drop])
  if ((add || take || drop) && location.pathname === '/demo/basket') page.innerHTML = VIEWS.basket()[1]
  else if (add) {
    event.target.textContent = 'In the basket ✓'
    setTimeout(() => (event.target.textContent = 'Add to basket'), 1200)
  }
})
document.addEventListener('submit', (event) => {
  event.preventDefault()
  if (event.target.id === 'search') return go(`/demo/search?q=${encodeURIComponent(new FormData(event.target).get('q'))}`)
  const items = lines().map((one) => ({ ...asItem(one), quantity: one.quantity }))
  rte('event', 'purchase', { transaction_id: `demo-${Date.now()}`, value: total(), currency: 'EUR', items })
  basket = {}
  save('basket', basket)
  count()
  go('/demo/thanks')
})
addEventListener('popstate', show)

// Who is there, and whether it may be measured.
const person = document.querySelector('#person')
function greet() {
  const name = saved('customer', '')
  person.textContent = name ? `${name[0].toUpperCase()}${name.slice(1)} · log out` : 'Log in'
}
person.addEventListener('click', () => {
  const now = saved('customer', '')
  const next = now ? '' : CUSTOMERS[Math.floor(Math.random() * CUSTOMERS.length)]
  save('customer', next)
  if (next) rte('login', `demo-${next}`, { method: 'demo' })
  else rte('event', 'logout')
  greet()
})

const bar = document.querySelector('#consent')
const again = document.querySelector('#again')
bar.hidden = Boolean(saved('answer', null))
again.hidden = !bar.hidden
again.addEventListener('click', () => (bar.hidden = false))
function answer(given) {
  save('answer', given)
  bar.hidden = true
  again.hidden = false
  rte('consent', { analytics_storage: given, ad_storage: 'denied', ad_personalization: 'denied' })
  follow()
}
document.querySelector('#agree').addEventListener('click', () => answer('granted'))
document.querySelector('#decline').addEventListener('click', () => answer('denied'))
if (saved('answer', null)) rte('consent', { analytics_storage: saved('answer', null), ad_storage: 'denied', ad_personalization: 'denied' })

// The panel.
const GROUPS = {
  Visit: ['page_views', 'distinct_pages', 'duration_s', 'active_s', 'read_depth', 'engagement_score', 'channel', 'device', 'browser'],
  Interest: ['product_views', 'last_item', 'viewed_products', 'category_interest', 'last_search', 'search_unanswered'],
  Basket: ['basket', 'open_basket_value', 'add_to_carts', 'abandonment_state', 'purchases', 'revenue'],
  Signals: ['clicks', 'scrolls', 'rage_clicks', 'errors', 'frustration_score', 'analytics_allowed', 'logins'],
}
const METERS = { purchase_propensity: 'Likely to buy', exit_risk: 'About to leave', bot_score: 'A robot' }
const STAGES = ['product', 'basket', 'checkout', 'bought']
const groups = document.querySelector('#groups')
const note = document.querySelector('#note')
let before = {}
let session = null
let source = null

function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(', ') || '–'
  if (value && typeof value === 'object') return 'item' in value ? `${value.quantity} × ${value.item}` : `${shown(value.value)} (${shown(value.weight)})`
  if (typeof value === 'number') return String(Math.round(value * 100) / 100)
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return value ?? '–'
}

const words = (name) => name.replace(/_s$/, ', s').replace(/[_.]/g, ' ').replace(/^./, (sign) => sign.toUpperCase())

function rows(names, values, label) {
  return names.map((name) => {
    const text = shown(values[name])
    const changed = name in before && before[name] !== text
    before[name] = text
    return `<div class="${changed ? 'changed' : ''}"><dt>${escaped(label(name))}</dt><dd data-attribute="${escaped(name)}">${escaped(text)}</dd></div>`
  }).join('')
}

function draw() {
  const values = session.attributes
  note.textContent = `Visitor ${session.visitor_id.slice(0, 8)}…, visit ${session.visit_number}${session.customer_id ? `, customer ${session.customer_id}` : ''}.`
  document.querySelector('#headline').textContent = `${session.event_count} events`
  const stage = values['checkout.furthest'] || 0
  const path = `<ol class="path">${STAGES.map((name, at) => `<li class="${at < stage ? 'reached' : ''}">${name}</li>`).join('')}</ol>`
  const meters = Object.entries(METERS).filter(([name]) => name in values).map(([name, text]) =>
    `<div class="meter" style="--part:${values[name]}"><span>${text}</span><i></i><b>${Math.round(values[name] * 100)} %</b></div>`).join('')
  groups.innerHTML = `${path}${meters}` + Object.entries(GROUPS).map(([title, names]) => `<h2>${title}</h2><dl>${rows(names, values, words)}</dl>`).join('')
  document.querySelector('#attributes').innerHTML = rows(Object.keys(values).sort(), values, (name) => name)
  document.querySelector('#all').hidden = document.querySelector('#json').hidden = false
  document.querySelector('#json').href = `/v1/visitors/${session.visitor_id}/session`
}

/** Watch the session of this visitor, as long as somebody looks. */
function follow() {
  rte('visitor', (id) => {
    if (source) source.close()
    source = null
    document.querySelector('#dot').classList.toggle('live', Boolean(id))
    if (!id) {
      groups.innerHTML = document.querySelector('#headline').textContent = ''
      document.querySelector('#all').hidden = document.querySelector('#json').hidden = true
      if (saved('answer', null) === 'denied') note.textContent = 'You declined: nothing is stored, nothing is sent, and RTE knows nothing of this visit.'
      return
    }
    if (document.visibilityState === 'hidden') return
    source = new EventSource(`/v1/sessions:watch?interval_ms_min=250&filter=${encodeURIComponent(`session.visitor_id == '${id}'`)}`)
    source.addEventListener('message', (message) => {
      const change = JSON.parse(message.data)
      if (change.type !== 'TYPE_UPSERT') return
      session = change.session
      draw()
    })
  })
}
document.addEventListener('visibilitychange', follow)

const handle = document.querySelector('#handle')
handle.addEventListener('click', () => handle.setAttribute('aria-expanded', String(handle.getAttribute('aria-expanded') !== 'true')))

count()
greet()
show()
follow()
