# A recipe becomes 0.png, the chart, and 1.png, 2.png, ...: each line alone, in black on white.

DASHES <- c(solid = "solid", dash = "dashed", dot = "dotted", dashdot = "dotdash", longdash = "longdash")

choose <- function(recipe, options) options[[recipe$theme %% length(options) + 1]]

open_picture <- function(recipe, number) {
  png(paste0(number, ".png"),
    width = recipe$width * recipe$scale, height = recipe$height * recipe$scale,
    res = recipe$resolution, type = "cairo", antialias = "subpixel"
  )
}

x_values <- function(recipe) {
  switch(recipe$x_type, date = as.Date(recipe$dates), cat = seq_len(recipe$points), recipe$x)
}

or <- function(value, other) if (is.null(value)) other else value

# ---- ggplot2

draw_ggplot2 <- function(recipe) {
  suppressMessages({
    library(ggplot2)
    library(grid)
  })
  plot <- ggplot2_backdrop(recipe, ggplot2_page(recipe))
  plot <- plot + ggplot2_line(recipe)
  line_layer <- length(plot$layers)
  if (recipe$marker != "none") plot <- plot + ggplot2_markers(recipe)
  plot <- ggplot2_surroundings(recipe, ggplot2_scales(recipe, plot))
  # The open picture is what texts are measured for.
  open_picture(recipe, 0)
  table <- suppressWarnings(ggplot_gtable(ggplot_build(plot)))
  draw_table(table)
  for (number in seq_len(recipe$count)) {
    open_picture(recipe, number)
    draw_table(ggplot2_alone(recipe, plot, table, line_layer, number))
  }
}

draw_table <- function(table) {
  grid.newpage()
  grid.draw(table)
  dev.off()
}

ggplot2_page <- function(recipe) {
  rows <- data.frame(
    x = rep(x_values(recipe), recipe$count), y = unlist(recipe$values),
    s = factor(rep(recipe$names, each = recipe$points), levels = recipe$names)
  )
  themes <- list(
    theme_grey, theme_grey, theme_bw, theme_minimal, theme_classic, theme_light, theme_linedraw, theme_dark
  )
  plot <- ggplot(rows, aes(x, y)) + choose(recipe, themes)()
  if (!recipe$dark) {
    return(plot)
  }
  plot + theme(
    plot.background = element_rect(fill = "grey10", colour = NA), panel.background = element_rect(fill = "grey15"),
    legend.background = element_rect(fill = "grey10"), legend.key = element_rect(fill = "grey15"),
    text = element_text(colour = "grey90"), axis.text = element_text(colour = "grey80"),
    panel.grid = element_line(colour = "grey30")
  )
}

ggplot2_backdrop <- function(recipe, plot) {
  rows <- data.frame(x = x_values(recipe), q = recipe$extra_values, y = recipe$values[[1]])
  ribbon <- function(mapping, ...) geom_ribbon(data = rows, mapping, inherit.aes = FALSE, ...)
  low <- min(0, recipe$low)
  spread <- recipe$spread
  plot + switch(recipe$extra,
    area = ribbon(aes(x = x, ymin = low, ymax = y), fill = "steelblue", alpha = .2),
    bars = geom_col(data = rows, aes(x = x, y = q), inherit.aes = FALSE, fill = "grey80"),
    points = geom_point(data = rows, aes(x = x, y = q), inherit.aes = FALSE, colour = "grey60", size = 1),
    ref = geom_hline(yintercept = recipe$level, linetype = "dashed", colour = "grey40"),
    band = ribbon(aes(x = x, ymin = y - spread, ymax = y + spread), fill = "grey60", alpha = .3)
  )
}

ggplot2_line <- function(recipe) {
  mapping <- aes(group = s)
  if (!recipe$same_color) mapping$colour <- quote(s)
  if (recipe$dashed) mapping$linetype <- quote(s)
  fixed <- list(linewidth = recipe$line_width, colour = recipe$color)
  geometry <- if (recipe$curve == "step") geom_step else geom_line
  do.call(geometry, c(list(mapping = mapping), Filter(Negate(is.null), fixed)))
}

ggplot2_markers <- function(recipe) {
  mapping <- aes(group = s)
  if (!recipe$same_color) mapping$colour <- quote(s)
  if (recipe$marker == "varied") mapping$shape <- quote(s)
  fixed <- list(size = choose(recipe, c(1.5, 2, 2.5)), colour = recipe$color)
  if (recipe$marker == "open") fixed <- c(fixed, list(shape = 21, fill = "white"))
  do.call(geom_point, c(list(mapping = mapping, na.rm = TRUE), Filter(Negate(is.null), fixed)))
}

ggplot2_scales <- function(recipe, plot) {
  if (recipe$dashed) plot <- plot + scale_linetype_manual(values = unname(DASHES[recipe$dashes]))
  if (recipe$marker == "varied") {
    plot <- plot + scale_shape_manual(values = c(16, 17, 15, 18, 1, 2, 0, 5)[seq_len(recipe$count)])
  }
  if (recipe$same_color) {
    return(plot)
  }
  if (!is.null(recipe$palette)) {
    return(plot + scale_colour_manual(values = recipe$palette[seq_len(recipe$count)]))
  }
  plot + switch(recipe$theme %% 4 + 1,
    NULL,
    scale_colour_brewer(palette = choose(recipe, c("Set1", "Dark2", "Set2"))),
    scale_colour_viridis_d(),
    NULL
  )
}

ggplot2_surroundings <- function(recipe, plot) {
  place <- or(recipe$legend, "none")
  plot <- plot + theme(legend.position = if (place == "inside") "right" else place) + labs(
    title = recipe$title, x = or(recipe$x_label, "x"), y = or(recipe$y_label, "y"),
    colour = NULL, linetype = NULL, shape = NULL
  )
  if (identical(recipe$grid, FALSE)) plot + theme(panel.grid = element_blank()) else plot
}

# The laid out table with nothing in it but one line and its markers: whatever else there is keeps its place.
ggplot2_alone <- function(recipe, plot, table, line_layer, number) {
  parts <- gList(ggplot2_stroke(plot, line_layer, number))
  if (recipe$marker != "none") parts <- gList(parts[[1]], ggplot2_points(plot, line_layer + 1, number))
  for (place in seq_along(table$grobs)) {
    if (!grepl("^panel", table$layout$name[place])) {
      table$grobs[[place]] <- nullGrob()
      next
    }
    names <- names(table$grobs[[place]]$children)
    for (name in names) table$grobs[[place]]$children[[name]] <- nullGrob(name = name)
    table$grobs[[place]]$children[[names[1]]] <- gTree(children = parts, name = names[1])
  }
  table
}

ggplot2_stroke <- function(plot, layer, number) {
  lines <- suppressWarnings(layer_grob(plot, layer))[[1]]
  stopifnot(inherits(lines, "polyline"))
  ids <- if (is.null(lines$id)) rep(seq_along(lines$id.lengths), lines$id.lengths) else lines$id
  groups <- unique(ids)
  of_line <- function(values) if (length(values) >= length(groups)) values[number] else values
  ours <- ids == groups[number]
  gp <- lines$gp
  polylineGrob(lines$x[ours], lines$y[ours], gp = gpar(
    col = "black", lwd = of_line(gp$lwd), lty = of_line(gp$lty),
    lineend = gp$lineend, linejoin = gp$linejoin, linemitre = gp$linemitre
  ))
}

ggplot2_points <- function(plot, layer, number) {
  points <- suppressWarnings(layer_grob(plot, layer))[[1]]
  rows <- suppressWarnings(layer_data(plot, layer))
  rows <- rows[!is.na(rows$y), ]
  ours <- rows$group == number
  of_line <- function(values) if (length(values) == nrow(rows)) values[ours] else values
  pointsGrob(points$x[ours], points$y[ours], pch = of_line(points$pch), gp = gpar(
    col = "black", fill = "white", fontsize = of_line(points$gp$fontsize), lwd = of_line(points$gp$lwd)
  ))
}

# ---- base R

draw_base <- function(recipe) {
  for (alone in 0:recipe$count) {
    open_picture(recipe, alone)
    base_page(recipe, alone)
    if (alone == 0) base_surroundings(recipe)
    for (number in seq_len(recipe$count)) if (alone %in% c(0, number)) base_line(recipe, number, alone)
    if (alone == 0 && !is.null(recipe$legend)) base_legend(recipe)
    dev.off()
  }
}

base_page <- function(recipe, alone) {
  ink <- if (recipe$dark) "white" else "black"
  ground <- if (recipe$dark && alone == 0) "black" else "white"
  margins <- c(
    choose(recipe, c(4, 5, 5)), 4, if (is.null(recipe$title)) 2 else 4,
    if (identical(recipe$legend, "right")) 7 else 2
  )
  par(mar = margins + .1, bg = ground, fg = ink, col.axis = ink, col.lab = ink, col.main = ink)
  plot(range(x_values(recipe)), c(recipe$low, recipe$high), type = "n", axes = FALSE, ann = FALSE)
}

base_surroundings <- function(recipe) {
  xs <- x_values(recipe)
  if (recipe$x_type == "date") axis.Date(1, xs) else axis(1)
  axis(2, las = recipe$theme %% 2)
  if (recipe$theme %% 3) box()
  title(main = recipe$title, xlab = or(recipe$x_label, "x"), ylab = or(recipe$y_label, "y"))
  if (identical(recipe$grid, TRUE)) grid()
  base_backdrop(recipe, xs)
}

base_backdrop <- function(recipe, xs) {
  band <- function() {
    ys <- recipe$values[[1]]
    known <- !is.na(ys)
    around <- c(ys[known] - recipe$spread, rev(ys[known] + recipe$spread))
    polygon(c(xs[known], rev(xs[known])), around, col = rgb(.5, .6, .8, .35), border = NA)
  }
  bars <- function() {
    half <- diff(as.numeric(xs))[1] * .35
    bottom <- par("usr")[3]
    rect(as.numeric(xs) - half, bottom, as.numeric(xs) + half, recipe$extra_values, col = "grey85", border = NA)
  }
  switch(recipe$extra,
    bars = bars(),
    points = points(xs, recipe$extra_values, pch = 20, col = "grey60", cex = .6),
    ref = abline(h = recipe$level, lty = 2, col = "grey50"),
    area = band(),
    band = band()
  )
}

base_colors <- function(recipe) {
  if (recipe$same_color) {
    return(rep(recipe$color, recipe$count))
  }
  named <- c("black", "red", "blue", "darkgreen", "orange", "purple", "brown", "grey50")
  colors <- or(recipe$palette, choose(recipe, list(palette(), palette(), rainbow(8), named)))
  colors <- rep_len(colors, recipe$count)
  # R's first colour is black.
  if (recipe$dark && is.null(recipe$palette) && recipe$theme %% 4 != 2) colors[1] <- "white"
  colors
}

base_pch <- function(recipe, number) {
  if (recipe$marker == "varied") {
    return(c(1, 2, 0, 5, 16, 17, 15, 4)[number])
  }
  c(none = 1, filled = 16, open = 1)[[recipe$marker]]
}

base_line <- function(recipe, number, alone) {
  type <- if (recipe$curve == "step") choose(recipe, c("s", "S")) else "l"
  if (recipe$marker != "none") type <- choose(recipe, c("o", "b"))
  lines(x_values(recipe), recipe$values[[number]],
    type = type, lty = DASHES[[recipe$dashes[number]]], lwd = recipe$line_width,
    col = if (alone) "black" else base_colors(recipe)[number], pch = base_pch(recipe, number), bg = "white"
  )
}

base_legend <- function(recipe) {
  right <- recipe$legend == "right"
  if (right) par(xpd = TRUE)
  corner <- choose(recipe, c("topleft", "topright", "bottomright"))
  legend(if (right) par("usr")[2] else corner, if (right) par("usr")[4],
    legend = recipe$names, col = base_colors(recipe), lty = DASHES[recipe$dashes], lwd = recipe$line_width,
    pch = if (recipe$marker != "none") sapply(seq_len(recipe$count), base_pch, recipe = recipe),
    bty = if (right && recipe$theme %% 2) "o" else "n", cex = .8
  )
}
