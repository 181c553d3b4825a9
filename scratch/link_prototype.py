from __future__ import annotations
import numpy as np, cv2, networkx as nx
from dataclasses import dataclass
from skimage.morphology import skeletonize
from scipy.spatial import cKDTree
from linegroup.compiling import compiled

OFF=np.array([(-1,-1),(-1,0),(-1,1),(0,-1),(0,1),(1,-1),(1,0),(1,1)])

@compiled
def walk(label, starts, out):
    """Order the pixels of each branch; label padded (h+2,w+2) int32; returns offsets."""
    h,w=label.shape
    pos=0
    offs=np.zeros(len(starts)+1,np.int64)
    for b in range(len(starts)):
        y,x=starts[b,0],starts[b,1]
        name=label[y,x]
        while True:
            out[pos,0]=x; out[pos,1]=y; pos+=1
            label[y,x]=-name
            ny,nx_=-1,-1
            # 4-neighbours first keeps the order of staircases
            for k in range(8):
                dy=(-1,1,0,0,-1,-1,1,1)[k]; dx=(0,0,-1,1,-1,1,-1,1)[k]
                if label[y+dy,x+dx]==name:
                    ny,nx_=y+dy,x+dx
                    break
            if ny<0: break
            y,x=ny,nx_
        offs[b+1]=pos
    return offs

@dataclass
class Frag:
    xy: np.ndarray      # (n,2)
    node: list          # two node ids or -1
    thick: float
    closed: bool=False

def fragments(mask):
    pad=np.pad(mask,2)
    sk=skeletonize(pad)
    dist=cv2.distanceTransform(pad.astype(np.uint8),cv2.DIST_L2,5)
    deg=cv2.filter2D(sk.astype(np.uint8),-1,np.ones((3,3),np.uint8),borderType=cv2.BORDER_CONSTANT)-1
    junc=sk&(deg>=3)
    nj,jl=cv2.connectedComponents(junc.astype(np.uint8),connectivity=8)
    br=(sk&~junc).astype(np.uint8)
    nb,bl=cv2.connectedComponents(br,connectivity=8)
    if nb<=1 and nj<=1: return [],np.zeros((0,2)),[]
    bdeg=cv2.filter2D(br,-1,np.ones((3,3),np.uint8),borderType=cv2.BORDER_CONSTANT)-1
    ys,xs=np.nonzero(br); names=bl[ys,xs]
    # start: endpoint if any else any pixel
    order=np.lexsort((bdeg[ys,xs],names))
    first=np.searchsorted(names[order],np.arange(1,nb))
    starts=np.stack([ys[order][first],xs[order][first]],1).astype(np.int64)
    closed=bdeg[starts[:,0],starts[:,1]]>=2
    out=np.zeros((len(ys),2),np.int64)
    offs=walk(bl.astype(np.int32).copy(),starts,out)
    frs=[]
    for b in range(nb-1):
        p=out[offs[b]:offs[b+1]]
        if len(p)==0: continue
        ends=[]
        for e in (p[0],p[-1]):
            win=jl[e[1]-1:e[1]+2,e[0]-1:e[0]+2]
            c=[int(v) for v in np.unique(win[win>0])]
            ends.append(c)
        n0=ends[0][0] if ends[0] else 0
        n1=ends[1][-1] if ends[1] else 0
        if len(p)==1 and len(ends[0])<2: n1=0
        th=2*float(np.median(dist[p[:,1],p[:,0]]))
        frs.append(Frag(p-2.0,[n0-1,n1-1],th,bool(closed[b]) and n0==0 and n1==0))
    cent=np.zeros((nj-1,2))
    for j in range(1,nj):
        yy,xx=np.nonzero(jl==j) if nj<400 else (None,None)
        if yy is None: break
        cent[j-1]=[xx.mean()-2,yy.mean()-2]
    if nj>=400:
        yy,xx=np.nonzero(jl); k=jl[yy,xx]-1; c=np.bincount(k,minlength=nj-1)
        cent=np.stack([np.bincount(k,xx,nj-1)/c-2,np.bincount(k,yy,nj-1)/c-2],1)
    return frs,cent,(jl[2:-2,2:-2],)

def tangent(p,thick,skip):
    """outward direction at p[0] side; p ordered from the end inwards"""
    n=len(p)
    a=min(skip,max(0,n-3)); b=min(n,a+max(6,int(3*thick)+4))
    q=p[a:b]
    if len(q)<2: q=p[:b]
    if len(q)<2: return np.zeros(2),p[0]
    t=np.arange(len(q))-(len(q)-1)/2
    d=-(t[:,None]*(q-q.mean(0))).sum(0)
    d/=max(np.linalg.norm(d),1e-9)
    return d,q.mean(0)-d*0+ (p[0]-q.mean(0))@d*d

def link(mask,debug=False):
    frs,cent,extra=fragments(mask)
    if not frs: return [],[]
    T=np.median([f.thick for f in frs])
    short=max(3*T,8)
    # union short bridges
    parent=list(range(len(cent)))
    def find(i):
        while parent[i]!=i:
            parent[i]=parent[parent[i]]; i=parent[i]
        return i
    kind=[]
    for f in frs:
        L=len(f.xy)
        if f.node[0]>=0 and f.node[1]>=0 and L<=short:
            parent[find(f.node[0])]=find(f.node[1]); kind.append('bridge')
        elif (f.node[0]>=0)!=(f.node[1]>=0) and L<=short*0.75: kind.append('hair')
        else: kind.append('frag')
    ends=[]  # (frag, side)
    idx=[i for i,k in enumerate(kind) if k=='frag']
    for i in idx:
        for s in (0,1): ends.append((i,s))
    E=len(ends)
    pos=np.zeros((E,2)); dr=np.zeros((E,2)); node=np.full(E,-1); th=np.zeros(E); ln=np.zeros(E)
    for e,(i,s) in enumerate(ends):
        f=frs[i]; p=f.xy if s==0 else f.xy[::-1]
        n=f.node[s]
        node[e]=find(n) if n>=0 else -1
        d,q=tangent(p,f.thick,int(f.thick) if n>=0 else 1)
        dr[e]=d; pos[e]=p[0]; th[e]=f.thick; ln[e]=len(p)
    return frs,kind,ends,pos,dr,node,th,ln,T,short

def candidates(frs,ends,pos,dr,node,th,ln,T,short,reach):
    """(e1,e2,cost)"""
    E=len(ends); out={}
    def cost(a,b,same):
        v=pos[b]-pos[a]; g=np.linalg.norm(v)
        turn=np.arccos(np.clip(-dr[a]@dr[b],-1,1))
        # lateral: how far each end lies from the other's straight continuation
        la=abs(dr[a][0]*v[1]-dr[a][1]*v[0]); lb=abs(dr[b][0]*v[1]-dr[b][1]*v[0])
        lat=(la+lb)/2
        fwd=min(v@dr[a], -(v@dr[b]))
        c=(turn/0.6)**2
        c+= (lat/(1.0*T+1.5+0.15*g))**2*0.5
        if fwd< -T: c+=1.5
        c+= (np.log((th[a]+.5)/(th[b]+.5))/0.7)**2
        c+= 0.3*g/reach if not same else 0.1*g/short
        return c
    bynode={}
    for e in range(E):
        if node[e]>=0: bynode.setdefault(node[e],[]).append(e)
    for es in bynode.values():
        for x in range(len(es)):
            for y in range(x+1,len(es)):
                a,b=es[x],es[y]
                if ends[a][0]==ends[b][0] and ln[a]<2*short: continue
                out[a,b]=min(cost(a,b,True),3.4)
    tree=cKDTree(pos)
    for a,b in tree.query_pairs(reach):
        if ends[a][0]==ends[b][0]: continue
        if node[a]>=0 and node[a]==node[b]: continue
        c=cost(a,b,False)
        if (a,b) not in out or c<out[a,b]: out[a,b]=c
    return out

def solve(E,cand,unlink):
    g=nx.Graph()
    for (a,b),c in cand.items():
        w=unlink[a]+unlink[b]-c
        if w>0: g.add_edge(a,b,weight=w)
    pairs=[]
    for comp in nx.connected_components(g):
        pairs+=list(nx.max_weight_matching(g.subgraph(comp)))
    return pairs

def chains(frs,kind,ends,pairs):
    id_={e:k for k,e in enumerate(ends)}
    mate={}
    for a,b in pairs: mate[a]=b; mate[b]=a
    used=set(); res=[]
    frag=[i for i,k in enumerate(kind) if k=='frag']
    def walkfrom(i,s):
        # leave fragment i through side s
        seq=[]
        e=id_[(i,s)]
        while e in mate:
            j,t=ends[mate[e]]
            if j in used: break
            used.add(j); seq.append((j,t)); e=id_[(j,1-t)]
        return seq
    for i in frag:
        if i in used: continue
        used.add(i)
        right=walkfrom(i,1); left=walkfrom(i,0)
        res.append([(j,1-t) for j,t in reversed(left)]+[(i,0)]+right)
    return res

def run(mask,reach=None):
    r=link(mask)
    if not r[0]: return [],None
    frs,kind,ends,pos,dr,node,th,ln,T,short=r
    if not ends: return [],None
    reach=reach or max(14,6*T)
    cand=candidates(frs,ends,pos,dr,node,th,ln,T,short,reach)
    unlink=np.where(node>=0,1.8,1.0)
    pairs=solve(len(ends),cand,unlink)
    ch=chains(frs,kind,ends,pairs)
    return ch,r

def paint(mask,ch,frs,lines):
    """label mask px by nearest skeleton px of chains in `lines` (list of lists of chain idx)"""
    h,w=mask.shape
    lab=np.zeros((h,w),np.int32)
    for k,cs in enumerate(lines):
        for c in cs:
            for j,_ in ch[c]:
                p=frs[j].xy.astype(int); lab[p[:,1],p[:,0]]=k+1
    if not lab.any(): return []
    d,near=cv2.distanceTransformWithLabels((lab==0).astype(np.uint8),cv2.DIST_L2,5,labelType=cv2.DIST_LABEL_PIXEL)
    names=np.zeros(near.max()+1,np.int32); names[near[lab>0]]=lab[lab>0]
    full=names[near]
    return [mask&(full==k+1) for k in range(len(lines))]

def extent(ch,frs):
    p=np.concatenate([frs[j].xy for j,_ in ch]); return p

def split(mask,plot):
    ch,r=run(mask)
    if not ch: return [mask] if mask.any() else []
    frs=r[0]
    info=[]
    for c in ch:
        p=extent(c,frs); x0,x1=p[:,0].min(),p[:,0].max(); y0,y1=p[:,1].min(),p[:,1].max()
        info.append((x0,x1,y0,y1,len(p)))
    info=np.array(info)
    wide=(info[:,1]-info[:,0]+1)
    big=[k for k in np.argsort(-wide) if wide[k]>=0.25*plot[1] ]
    if len(big)<2: return [mask]
    return paint(mask,ch,frs,[[k] for k in big])
